"""Whose member is whose, for hosts that name none: a request sent again takes over its own place, and no other."""

from __future__ import annotations

import asyncio

from softgrpo.serving.kept import KeptCohorts

FORGOTTEN = 1800.0
"""seconds after which nobody comes back for a place"""
FETCHED = 300.0
"""seconds within which an answer that nobody has read is asked for again: a trainer's time-out, and some more"""
ANSWERED = object()
"""holds what was answered and is not kept, for the group was not judged: it is nobody else's"""


class Claims:
    """Members by their text: `TEXT.0`, and `TEXT.1` for a second completion that is the same.

    A member is held by the request that brought it while that is connected, and nobody's when it is gone; the next
    request with the same text takes over what is nobody's, and only where nothing is becomes a member of its own. What
    was answered is over, and so is what belongs to a cohort whose time was up, or was judged long ago.
    """

    def __init__(self, kept: KeptCohorts, *, forgotten: float = FORGOTTEN) -> None:
        """`forgotten`: seconds after which nobody comes back; more than an unjudged cohort is remembered."""
        self._kept, self._forgotten = kept, forgotten
        self._holders: dict[str, dict[str, object]] = {}
        """by cohort, of the members that were not answered; None where it is nobody's"""

    def take(self, cohort: str, text: str, holder: object) -> str:
        """The member that a text is in its cohort, from now on held."""
        beginning = f"{text[:32]}."
        here = self._holders.setdefault(cohort, {})
        before = self._kept.beginning(cohort, beginning, within=FETCHED)
        mine = {name for name in (*before, *here) if name.startswith(beginning)}
        # nobody holds it, and its cohort is under way or has an answer for it; what is not here was so before a kill
        free = [name for name in mine if here.get(name) is None and before.get(name, True)]
        numbers = [int(name.removeprefix(beginning)) for name in mine]
        name = min(free, default=f"{beginning}{max(numbers, default=-1) + 1}")
        here[name] = holder
        return name

    def release(self, cohort: str, member: str, holder: object) -> None:
        """The request is gone without an answer; nothing, where another one has taken over."""
        if self._holders.get(cohort, {}).get(member) is holder:
            self._holders[cohort][member] = None
            self._later(cohort, member, None)

    def answered(self, cohort: str, member: str) -> None:
        """The answer has been sent."""
        if self._kept.answered(cohort, member):
            self._drop(cohort, member)
        else:
            self._holders.setdefault(cohort, {})[member] = ANSWERED
            self._later(cohort, member, ANSWERED)

    def _later(self, cohort: str, member: str, holder: object) -> None:
        asyncio.get_running_loop().call_later(self._forgotten, self._forget, cohort, member, holder)

    def _forget(self, cohort: str, member: str, holder: object) -> None:
        if self._holders.get(cohort, {}).get(member, self) is holder:
            self._drop(cohort, member)

    def _drop(self, cohort: str, member: str) -> None:
        here = self._holders.get(cohort, {})
        here.pop(member, None)
        if not here:
            self._holders.pop(cohort, None)

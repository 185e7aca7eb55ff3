"""Several processes, each with a slice of a batch, and one that judges: all get what came of it, or what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from softgrpo.errors import UserError

Row = TypeVar("Row")
Found = TypeVar("Found")


def judged_once(rows: Sequence[Row], judge: Callable[[list[Row]], Found]) -> tuple[Found, slice]:
    """What `judge` makes of all processes' rows, in the order of their ranks, and where this process's rows lie.

    It is called in the process of rank 0 alone; the rows are gathered by `accelerate`, if that is in use. What it
    raises is raised in every process: the others would else wait for it in vain.

    >>> judged_once(["a", "b"], len)
    (2, slice(0, 2, None))
    """
    rank, gather, share = _processes()
    every = gather(list(rows))
    error, found, said = None, None, None
    if rank == 0:
        try:
            found = judge([row for one in every for row in one])
        except Exception as wrong:
            error, said = wrong, f"{type(wrong).__name__}: {wrong}"
    found, said = share((found, said))
    if said is not None:
        raise error or UserError(f"in the process that judges: {said}")
    start = sum(map(len, every[:rank]))
    return found, slice(start, start + len(rows))


def _processes() -> tuple[int, Callable[[list[Any]], list[list[Any]]], Callable[[Any], Any]]:
    """This process's rank, how all get everybody's rows, and how all get what rank 0 has found."""
    if "accelerate" in sys.modules:  # else nobody has started several
        from accelerate import PartialState
        from accelerate.utils import broadcast_object_list, gather_object

        state = PartialState()
        if state.num_processes > 1:
            return (
                state.process_index,
                lambda rows: gather_object([rows]),
                lambda found: broadcast_object_list([found], from_process=0)[0],
            )
    return 0, lambda rows: [rows], lambda found: found

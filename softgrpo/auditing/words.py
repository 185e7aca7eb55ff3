"""An audit as a table and as a verdict in words. Pure."""

from __future__ import annotations

from softgrpo.auditing.audit import Audit
from softgrpo.auditing.examine import Figure

GOOD_AGREEMENT, LOW_AGREEMENT = 0.8, 0.6
"""lower ends of the interval: from the first a judge is fit, below the second it is not"""
FAILING, BROKEN = 0.02, 0.2
BIASED = 0.5
"""log-odds for a place that a single order should not be trusted with"""
BIASED_SHARE = 0.1
"""the same of a judge that names a winner: this far from one half"""
INCONSISTENT = 0.8
CYCLIC = 0.1
LONG = 0.25
"""log-odds for a text of twice the length"""
LOW_MASS = 0.5


def verdict(audit: Audit) -> tuple[str, list[str]]:
    """`fit`, `fit with care` or `not fit`, and the reasons."""
    against, care = _against(audit), _care(audit)
    if against:
        return "not fit", against + care
    if care:
        return "fit with care", care
    return "fit", [f"agrees with the gold set in {audit.agreement} of the pairs, and nothing else stands out"]


def _against(audit: Audit) -> list[str]:
    reasons = []
    if audit.failure_rate > BROKEN:
        reasons.append(f"{audit.failure_rate:.0%} of its verdicts cannot be used")
    if not audit.agreement.n:
        reasons.append("no gold pair was judged in both orders")
    elif not audit.agreement.low >= LOW_AGREEMENT:
        more = "" if audit.agreement.high < GOOD_AGREEMENT else "; pairs on more subjects would tell"
        reasons.append(f"it agrees with the gold set in {audit.agreement} of the pairs; a coin would reach 0.50{more}")
    return reasons


def _care(audit: Audit) -> list[str]:
    reasons = []
    if LOW_AGREEMENT <= audit.agreement.low < GOOD_AGREEMENT:
        reasons.append(f"it agrees with the gold set in only {audit.agreement} of the pairs")
    weak = [k for k, f in audit.agreement_by_kind.items() if f.n >= 4 and f.value < 0.75]
    if weak:
        reasons.append(f"it is often won over by texts of the kinds: {', '.join(weak)}")
    if FAILING < audit.failure_rate <= BROKEN:
        reasons.append(f"{audit.failure_rate:.0%} of its verdicts cannot be used")
    soft = audit.position_bias.n > 0
    if soft and abs(audit.position_bias.value) > BIASED:
        reasons.append(f"it favours a place by {audit.position_bias} log-odds: ask in both orders, or fit the bias")
    if not soft and abs(audit.first_share.value - 0.5) > BIASED_SHARE:
        reasons.append(f"the text read first wins {audit.first_share} of the matches: ask in both orders")
    if audit.consistency.value < INCONSISTENT:
        reasons.append(f"its two orders name the same winner in only {audit.consistency} of the pairs")
    if audit.cycles.n and audit.cycles.low > CYCLIC:
        reasons.append(f"{audit.cycles} of its triads go in a circle: no score can follow it")
    if audit.length_preference.low > LONG or audit.length_preference.high < -LONG:
        direction = "longer" if audit.length_preference.value > 0 else "shorter"
        reasons.append(f"it favours {direction} texts: {audit.length_preference} log-odds for twice the length")
    if audit.mean_mass < LOW_MASS:
        reasons.append(f"only {audit.mean_mass:.0%} of its probability is on the labels")
    return reasons


def table(audit: Audit) -> str:
    """All figures, one to a line."""
    read, written = audit.tokens_per_1000
    rows = [
        ("gold pairs", f"{audit.n_pairs}, on {_counted(audit.n_subjects, 'subject')}"),
        ("agreement with the gold set", _of_pairs(audit.agreement, audit.n_pairs)),
        *((f"  {kind[:30]}", _of_pairs(f, audit.n_by_kind[kind])) for kind, f in audit.agreement_by_kind.items()),
        ("text read first wins", str(audit.first_share)),
        ("position bias (log-odds)", str(audit.position_bias)),
        ("noise of a verdict (log-odds)", str(audit.noise)),
        ("both orders name one winner", str(audit.consistency)),
        ("ties", str(audit.ties)),
        ("triads that go in a circle", str(audit.cycles)),
        ("for twice the length (log-odds)", str(audit.length_preference)),
        ("failed judgements", f"{audit.failure_rate:.3f} of {audit.n_verdicts}"),
        *((f"  {why[:60]}", str(n)) for why, n in audit.failures.items()),
        ("probability on the labels", f"{audit.mean_mass:.2f}" if audit.mean_mass == audit.mean_mass else "not told"),
        (
            "per 1,000 matches",
            f"{audit.seconds_per_1000:.1f} s, {audit.calls_per_1000:.0f} calls, "
            f"{read:.0f} tokens read, {written:.0f} written",
        ),
    ]
    return "\n".join(f"{name:34} {value}" for name, value in rows)


def _of_pairs(figure: Figure, asked: int) -> str:
    """A share of pairs, of how many, and how many of those asked about were not judged in both orders."""
    if not figure.n:
        return f"none of {_counted(asked, 'pair')} judged"
    unjudged = f", {asked - figure.n} not judged" if asked > figure.n else ""
    return f"{figure} of {_counted(figure.n, 'pair')}{unjudged}"


def _counted(n: int, what: str) -> str:
    """How many.

    >>> _counted(1, "pair"), _counted(2, "pair")
    ('1 pair', '2 pairs')
    """
    return f"{n} {what}{'' if n == 1 else 's'}"

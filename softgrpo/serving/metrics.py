"""What a server counts, as Prometheus reads it. Each app has a registry of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily

from softgrpo.records import ScoredGroup
from softgrpo.scorer import Scorer
from softgrpo.serving.rewards import is_unjudged

KIND = "text/plain; version=0.0.4; charset=utf-8"
OUTCOMES = ("judged", "unjudged", "expired", "failed", "retired")
SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)


class Metrics:
    """Counts of one server."""

    def __init__(self, scorer: Scorer) -> None:
        self.registry = CollectorRegistry()
        counts: dict[str, Any] = {"registry": self.registry, "namespace": "softgrpo"}
        self.groups = Counter(
            "groups",
            "Groups by what came of them: rewarded, partly, unrewarded, unjudged, error",
            ["outcome"],
            **counts,
        )
        self.completions = Counter("completions", "Completions of groups that were scored", **counts)
        self.failed = Counter("judgements_failed", "Judgements without an outcome", **counts)
        self.cohorts = Counter("cohorts", f"Cohorts by how they ended: {', '.join(OUTCOMES)}", ["outcome"], **counts)
        self.members = Counter("members", "Members of cohorts: new, retry, conflict, late", ["kind"], **counts)
        self.seconds = Histogram("judging_seconds", "Seconds in which a group was judged", buckets=SECONDS, **counts)
        self.requests = Counter("requests", "Requests by path and status", ["path", "status"], **counts)
        self.open = Gauge("open_cohorts", "Cohorts that have not ended", **counts)
        self.registry.register(_OfScorer(scorer))  # type: ignore[arg-type]
        for outcome in OUTCOMES:  # shown from the first reading on
            self.cohorts.labels(outcome)
        for kind in ("new", "retry", "conflict", "late"):
            self.members.labels(kind)

    def count(self, what: str, kind: str) -> None:
        """One more cohort or member of that kind."""
        (self.cohorts if what == "cohort" else self.members).labels(kind).inc()

    def scored(self, group: ScoredGroup, seconds: float) -> None:
        """A group has been scored."""
        known = int(np.isfinite(group.rewards).sum())
        outcome = "rewarded" if known == len(group.rewards) else "partly" if known else "unrewarded"
        outcome = "unjudged" if is_unjudged(group) else outcome
        self.groups.labels(outcome).inc()
        self.completions.inc(len(group.rewards))
        self.failed.inc(len(group.failures))
        self.seconds.observe(seconds)

    def page(self) -> bytes:
        """All of it as text."""
        return generate_latest(self.registry)


class _OfScorer:
    """What the scorer knows itself, read when it is asked for."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def collect(self) -> Iterator[CounterMetricFamily]:
        spent = self._scorer.spent
        for name, value in (("calls", spent.calls), ("tokens", spent.tokens), ("usd", spent.usd)):
            yield CounterMetricFamily(f"softgrpo_spent_{name}", f"{name} that services were paid for", value=value)
        found = CounterMetricFamily(
            "softgrpo_canaries", "Questions with a known answer, by how the judge fared", labels=["kind", "outcome"]
        )
        for kind, tally in self._scorer.evaluator.canaries.items():
            found.add_metric([kind, "right"], tally.n - tally.n_wrong)
            found.add_metric([kind, "wrong"], tally.n_wrong)
            found.add_metric([kind, "failed"], tally.n_failed)
        yield found

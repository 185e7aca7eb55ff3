"""What becomes of 10,000 judgements when 30% of all attempts fail? `python benchmarks/fault_injection.py`.

Writes `fault_injection.json` beside itself. The judge is asked over real sockets by the real SDK; the server's faults
are drawn from the question and the attempt, so that they do not depend on the order of arrival. Every claim is checked
against what the server saw, and the script ends with an error where one does not hold:

- no verdict is lost, counted twice or invented; rewards equal those without faults wherever every question of the group
  was answered, and the rest are counted failures;
- nothing is sent before a `Retry-After`; a budget is kept to the call, and the run goes on from there;
- goodput against the server's own limit of requests per second;
- the judging process killed at random moments: the ledger intact, at most the calls in flight paid again, same rewards.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from fault_world import (
    CONCURRENCY,
    FAULTY,
    PATIENT,
    PLAYERS,
    Bucket,
    Calm,
    Fire,
    asked,
    check,
    connect,
    groups,
    judge_all,
    p_first,
    rewards,
    serve,
)

from softgrpo.models.api.errors import BudgetReached
from softgrpo.records import Verdict
from softgrpo.spending.budget import Budget, SpendingFile, Spent
from softgrpo.spending.ledger import SqliteLedger
from tests.fakes.api_server import Seen

OUTPUT = Path(__file__).with_suffix(".json")


def under_fire(n_groups: int, folder: Path) -> dict[str, Any]:
    """The same judgements with and without faults."""
    contests = groups(n_groups)
    with serve(Fire(FAULTY)) as server, SqliteLedger(folder / "fire.sqlite") as ledger:
        model, began = connect(server.url), time.monotonic()
        model.budget = Budget()
        found = judge_all(model, ledger, contests)
        seconds = time.monotonic() - began
        bill, spent = ledger.spent()[model.identity], model.budget.spent
        again = judge_all(model, ledger, [c for c, v in zip(contests, found, strict=True) if not failed(v)])
        log = list(server.replies_asked)
        model.close()
    without = judge_all(Calm(model.identity), None, contests)
    verdicts = [v for group in found for v in group]
    check(
        [v.match for v in verdicts] == [m for c in contests for m in c.matches], "each match has one verdict, its own"
    )
    truth = [p_first(*(c.texts[i] for i in (m.first, m.second))) for c in contests for m in c.matches]
    invented = sum(v.p_first is not None and abs(v.p_first - p) > 1e-9 for v, p in zip(verdicts, truth, strict=True))
    check(not invented, f"{invented} verdicts are not what the judge said")
    check(all(bool(v.failure) == (v.p_first is None) for v in verdicts), "a missing verdict says why")
    check(not any(v.usage.requests for group in again for v in group), "what is known is not asked again")

    questions = {(c.texts[m.first], c.texts[m.second]) for c in contests for m in c.matches}
    missing = sum(v.p_first is None for v in verdicts)
    lost = missing - sum(not model.delivered[q] for q in questions)
    check(not lost, f"{lost} verdicts were lost although their answers arrived")
    twice = sum(v.usage.requests for v in verdicts) - len(model.sent)
    check(not twice and spent.calls == bill.usage.requests == len(model.sent), "each attempt is counted once")
    check(sum(model.delivered.values()) == len(verdicts) - missing, "no question is paid for twice")
    late = sum(seen.fault is None for seen in log) - sum(model.delivered.values())
    check(len(log) <= len(model.sent), "what was not sent does not arrive")
    same = [i for i, group in enumerate(found) if not failed(group)]
    check(np.array_equal(rewards(found)[same], rewards(without)[same]), "rewards are those without faults")
    early = sent_early(log)
    check(not early and not model.too_early, f"{early} + {model.too_early} attempts were sent before their Retry-After")
    return {
        "judgements": len(verdicts),
        "attempts": len(model.sent),
        "never_arrived": len(model.sent) - len(log),
        "faults": dict(Counter(s.fault.status or s.fault.kind for s in log if s.fault is not None)),
        "fault_share": float(np.mean([s.fault is not None for s in log])),
        "verdicts": len(verdicts) - missing,
        "counted_failures": missing,
        "groups": len(found),
        "groups_whose_rewards_are_those_without_faults": len(same),
        "groups_with_a_counted_failure": len(found) - len(same),
        "lost": lost,
        "invented": invented,
        "counted_twice": twice,
        "good_answers_that_came_too_late": late,
        "sent_before_a_retry_after": early + model.too_early,
        "seconds": seconds,
    }


def failed(group: Sequence[Verdict]) -> bool:
    return any(v.p_first is None for v in group)


def sent_early(log: Sequence[Seen]) -> int:
    """Questions asked again before the server had said that they may be."""
    until: dict[str, float] = defaultdict(float)
    early = 0
    for seen in sorted(log, key=lambda s: s.at):
        early += seen.at < until[asked(seen)]
        if seen.fault is not None and (wait := seen.fault.headers.get("retry-after-ms")):
            until[asked(seen)] = seen.at + float(wait) / 1000
    return early


def on_a_budget(n_groups: int, folder: Path) -> dict[str, Any]:
    """The run ends at its budget, under fire, and goes on from what it has kept when the budget is raised."""
    contests = groups(n_groups)
    limit = n_groups * len(contests[0].matches) * 2 // 3
    with serve(Fire(FAULTY, seed=1)) as server, SqliteLedger(folder / "budget.sqlite") as ledger:
        model, file = connect(server.url), SpendingFile(folder / "spending.json")
        model.budget = Budget(calls=limit, keep=file.write)
        try:
            judge_all(model, ledger, contests)
            reached = False
        except BudgetReached:
            reached = True
        check(reached, "the budget ends the run")
        first = len(model.sent)
        before = file.read()
        check(before and first == limit == before.calls, "the budget is kept to the call")
        check(len(server.replies_asked) <= limit, "the server sees no more")
        bill = ledger.spent()[model.identity]
        model.budget = Budget(calls=10 * limit, before=before or Spent(), keep=file.write)
        found = judge_all(model, ledger, contests)
        check(model.budget.spent.calls == len(model.sent), "the resumed budget knows what was spent before")
        model.close()
    known = bill.judgements - bill.failures
    paid_again = known - sum(not v.usage.requests for group in found for v in group)
    check(not paid_again, "what was answered before the stop is not asked again")
    without = judge_all(Calm(model.identity), None, contests)
    same = [i for i, group in enumerate(found) if not failed(group)]
    check(np.array_equal(rewards(found)[same], rewards(without)[same]), "rewards are those of one calm run")
    return {
        "budget_calls": limit,
        "calls_when_it_was_reached": first,
        "verdicts_kept": known,
        "of_them_paid_again_on_resume": paid_again,
        "groups": len(found),
        "groups_whose_rewards_are_those_without_faults": len(same),
    }


def goodput(n_groups: int, share: float) -> dict[str, Any]:
    """Good answers per second of a server that takes fewer than could be sent."""
    contests = groups(n_groups)
    with serve() as free:
        model, began = connect(free.url, timeout=PATIENT), time.monotonic()
        judge_all(model, None, contests)
        unlimited = len(free.replies_asked) / (time.monotonic() - began)
        model.close()
    limit = share * unlimited
    bucket = Bucket(limit)
    with serve(bucket) as server:
        model, began = connect(server.url, timeout=PATIENT), time.monotonic()
        found = judge_all(model, None, contests)
        seconds = time.monotonic() - began
        check(not any(failed(group) for group in found), "a rate limit loses nothing")
        check(not model.too_early, "nothing is sent before its Retry-After")
        log = server.replies_asked
        model.close()
    good = sum(seen.fault is None for seen in log)
    return {
        "unlimited_per_second": unlimited,
        "limit_per_second": limit,
        "good_answers_per_second": good / seconds,
        "goodput": (good - bucket.burst) / seconds / limit,
        "refused_share": 1 - good / len(log),
        "judgements": good,
    }


def work(url: str, ledger: str, result: str, n_groups: int) -> None:
    """What the killed process does."""
    model = connect(url, timeout=PATIENT)
    with SqliteLedger(ledger) as book:
        found = judge_all(model, book, groups(n_groups))
    Path(result).write_text(json.dumps(rewards(found).tolist()))
    os._exit(0)


def killed(n_groups: int, kills: int, folder: Path, seed: int = 0) -> dict[str, Any]:
    """A judging process killed at random moments and begun anew, until one comes to the end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["openai", "numpy", "softgrpo.models.api.openai", "softgrpo.tournament.rule"])
    rng, ledger, result = random.Random(seed), folder / "killed.sqlite", folder / "rewards.json"
    n = n_groups * PLAYERS * (PLAYERS - 1)
    under_way = []
    with serve(delay=0.002) as server:
        arguments = (server.url, str(ledger), str(result), n_groups)
        for k in range(kills + 1):
            process = context.Process(target=work, args=arguments)
            before = len(server.replies_asked)
            process.start()
            if k < kills:
                wanted = before + rng.randint(0, 2 * n // (kills + 1) - CONCURRENCY // 2)
                while len(server.replies_asked) < wanted and process.is_alive():
                    time.sleep(0.001)
                time.sleep(rng.uniform(0, 0.005))
                process.kill()
            process.join()
            check(process.exitcode == (-signal.SIGKILL if k < kills else 0), f"process {k}: {process.exitcode}")
            with sqlite3.connect(ledger) as file:
                check(file.execute("PRAGMA integrity_check").fetchone() == ("ok",), "the ledger is intact")
                kept = file.execute("SELECT count(*) FROM judgements").fetchone()[0] if k < kills else n
            file.close()
            time.sleep(0.02)  # what had been sent before the kill arrives
            under_way.append(len(server.replies_asked) - kept - sum(under_way))
        requests = len(server.replies_asked)
    check(max(under_way) <= CONCURRENCY, f"{max(under_way)} calls were lost by one kill")
    check(requests - n == sum(under_way), "nothing else was paid again")
    without = rewards(judge_all(Calm(connect(arguments[0]).identity), None, groups(n_groups)))
    check(np.array_equal(np.array(json.loads(result.read_text())), without), "the rewards are the same")
    return {
        "judgements": n,
        "kills": kills,
        "calls_paid_again": requests - n,
        "most_by_one_kill": max(under_way),
        "in_flight_at_most": CONCURRENCY,
        "rewards_are_the_same": True,
    }


def everything(judgements: int, kills: int) -> dict[str, Any]:
    """All parts; the later ones on a part of the judgements."""
    n = judgements // (PLAYERS * (PLAYERS - 1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: dict[str, Callable[[], Any]] = {
            "under_fire": lambda: under_fire(n, folder),
            "budget": lambda: on_a_budget(max(n // 5, 10), folder),
            "goodput": lambda: [goodput(max(n // 10, 10), share) for share in (0.25, 0.5)],
            "killed": lambda: killed(max(n // 2, 3 * kills), kills, folder),
        }
        found = {}
        for part, run in parts.items():
            print(f"{part} ...", flush=True)
            found[part] = run()
            print(json.dumps(found[part]), flush=True)
        return found


def as_markdown(record: dict[str, Any]) -> str:
    """The table of the docs."""
    fire, budget, killed_ = record["under_fire"], record["budget"], record["killed"]
    quarter, half = record["goodput"]
    rows = {
        "judgements under fire": f"{fire['judgements']:,}, in {fire['attempts']:,} attempts of which "
        f"{fire['fault_share']:.0%} met a fault",
        "verdicts lost, counted twice, invented": f"{fire['lost']}, {fire['counted_twice']}, {fire['invented']}",
        "attempts before their `Retry-After`": f"{fire['sent_before_a_retry_after']}",
        "groups whose rewards are those without faults": f"{fire['groups_whose_rewards_are_those_without_faults']} of "
        f"{fire['groups']}; the other {fire['groups_with_a_counted_failure']} have a counted failure",
        "counted failures": f"{fire['counted_failures']} ({fire['counted_failures'] / fire['judgements']:.2%})",
        f"a budget of {budget['budget_calls']:,} calls": f"{budget['calls_when_it_was_reached']:,} calls made; of "
        f"{budget['verdicts_kept']:,} verdicts {budget['of_them_paid_again_on_resume']} paid again on resume",
        "good answers of what the server allows": f"{quarter['goodput']:.0%} at {quarter['limit_per_second']:.0f} a "
        f"second, {half['goodput']:.0%} at {half['limit_per_second']:.0f}",
        f"{killed_['kills']} kills over {killed_['judgements']:,} judgements": f"ledger intact, rewards the same, "
        f"{killed_['calls_paid_again']} calls paid again, at most {killed_['most_by_one_kill']} by one kill "
        f"({killed_['in_flight_at_most']} may be in flight)",
    }
    return "\n".join(["|  |  |", "|---|---|", *(f"| {name} | {said} |" for name, said in rows.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--judgements", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=100)
    args = parser.parse_args()
    began = time.monotonic()
    record = everything(args.judgements, args.kills)
    record |= {
        "kinds": "429 and 529 with Retry-After, 500, time-out, dropped connection, truncated JSON, unreadable verdict",
        "seconds": time.monotonic() - began,
        "command": f"python benchmarks/fault_injection.py --judgements {args.judgements} --kills {args.kills}",
        "versions": {
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            **{p: version(p) for p in ("openai", "numpy")},
        },
        "processor": processor(),
        "load": os.getloadavg()[0],
    }
    OUTPUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")
    print(json.dumps(record, indent=1))


def processor() -> str:
    """The processor's name and how many of it the system sees."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


if __name__ == "__main__":
    main()

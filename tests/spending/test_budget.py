"""Prices and the budget: worked numbers, then that no sequence of attempts exceeds a limit."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.errors import UserError
from softgrpo.models.api.errors import APIStop
from softgrpo.models.names import parse
from softgrpo.records import Usage
from softgrpo.spending.budget import FREE_OF_CHARGE, Budget, Price, Prices, SpendingFile, Spent, load_prices

GPT = parse("gpt-4o")
PRICES = Prices(known={("openai", "gpt-4o"): Price(input=2.0, output=10.0)})


def usage(read: int, written: int) -> Usage:
    return Usage(input_tokens=read, output_tokens=written)


def test_the_packaged_prices():
    prices = load_prices()
    assert prices.of(GPT) == Price(input=2.5, output=10.0)
    assert prices.of(parse("openai:gpt-4o-mini@http://127.0.0.1:1/v1")) == Price(input=0.15, output=0.6)
    assert prices.cost(parse("claude-haiku-4-5"), usage(1_000_000, 1_000_000)) == 6.0
    assert prices.as_of


def test_what_is_free_and_what_is_unknown():
    for name in ("embedded", "embedded:prompt", "Qwen/Qwen2.5-1.5B-Instruct", "ollama:llama3", "vllm:m@http://h/v1"):
        assert PRICES.of(parse(name)) == FREE_OF_CHARGE
    for name in ("gpt-9", "claude-haiku-4-5", "openrouter:gpt-4o"):
        assert PRICES.of(parse(name)) is None
        assert PRICES.cost(parse(name), usage(5, 5)) is None


def test_own_prices(tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text(
        "as_of: 2026-11-01\nprices:\n  openai:mine: {input: 1, output: 2}\n  ollama:big: {input: 3, output: 0}\n"
    )
    prices = load_prices(path)
    assert prices.of(parse("openai:mine@http://h:1/v1")) == Price(input=1.0, output=2.0)
    assert prices.of(parse("ollama:big")) == Price(input=3.0, output=0.0)
    assert prices.of(GPT) is None, "the packaged list is not mixed in"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gpt-4o: 3", "cannot be read"),
        ("prices: [1]", "cannot be read"),
        ("prices: {gpt-4o: 3}", "gpt-4o: 3 is no price"),
        ("prices: {gpt-4o: {input: -1, output: 2}}", "is no price"),
        ("prices: {gpt-4o: {input: .nan, output: 2}}", "is no price"),
        ("prices: {gpt-4o: {input: cheap, output: 2}}", "is no price"),
        ("prices: {embedded: {input: 1, output: 2}}", "no API model"),
        ("{", "cannot be read"),
    ],
)
def test_a_file_of_prices_that_is_none(tmp_path, text, words):
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        load_prices(path)
    assert str(path) in str(error.value)
    with pytest.raises(UserError, match=r"--prices .*absent"):
        load_prices(tmp_path / "absent")


def test_reserve_and_settle():
    budget = Budget(calls=3, tokens=1000, usd=1.0, prices=PRICES)
    first = budget.reserve(GPT, usage(400, 100))
    assert first == Spent(calls=1, input_tokens=400, output_tokens=100, usd=0.0018)
    assert budget.reserve(GPT, usage(400, 101)) is None, "what is under way counts in full"
    second = budget.reserve(GPT, usage(400, 100))
    assert second is not None
    budget.settle(GPT, first, usage(300, 2))
    budget.settle(GPT, second, None)
    assert not budget.is_waiting
    assert budget.spent == Spent(calls=2, input_tokens=700, output_tokens=102, usd=pytest.approx(0.00062 + 0.0018))
    assert budget.reserve(GPT, usage(1, 1)) is not None
    assert budget.reserve(GPT, usage(1, 1)) is None, "the fourth call"


def test_each_limit_is_named_when_it_is_reached():
    for limits, words in [
        ({"calls": 1, "tokens": 9999}, "--budget_calls 1 is reached"),
        ({"calls": 9, "tokens": 20}, "--budget_tokens 20 is reached"),
        ({"calls": 9, "usd": 0.0001}, r"--budget_usd 0.0001 is reached \(9e-05 spent"),
        ({"calls": 0}, "--budget_calls 0 is reached"),
    ]:
        budget = Budget(prices=PRICES, **limits)
        if held := budget.reserve(GPT, usage(10, 7)):
            budget.settle(GPT, held, None)
        assert budget.reserve(GPT, usage(10, 7)) is None
        with pytest.raises(APIStop, match=words) as error:
            raise budget.reached()
        assert isinstance(error.value, UserError)


def test_a_limit_in_usd_needs_a_price():
    budget = Budget(usd=5.0, prices=PRICES)
    budget.check(GPT)
    budget.check(parse("embedded"))
    with pytest.raises(UserError, match=r"--budget_usd 5: the price of claude-haiku-4-5 is unknown; .*--prices"):
        budget.check(parse("claude-haiku-4-5"))
    with pytest.raises(UserError, match="unknown"):
        budget.reserve(parse("claude-haiku-4-5"), usage(1, 1))
    free = Budget(calls=5, prices=PRICES)
    free.settle(parse("gpt-9"), free.reserve(parse("gpt-9"), usage(1, 1)), usage(1, 1))
    assert (free.spent.usd, free.spent.unpriced) == (0.0, 1), "unknown is said, not taken for nothing"


def test_what_is_kept_counts_what_is_under_way_in_full():
    kept: list[Spent] = []
    budget = Budget(calls=3, keep=kept.append)
    held = budget.reserve(GPT, usage(10, 5))
    assert kept == [Spent(calls=1, input_tokens=10, output_tokens=5, unpriced=1)], "before the attempt is sent"
    budget.settle(GPT, held, usage(8, 1))
    budget.reserve(GPT, usage(10, 5))
    assert kept[1:] == [
        Spent(calls=1, input_tokens=8, output_tokens=1, unpriced=1),
        Spent(calls=2, input_tokens=18, output_tokens=6, unpriced=2),
    ]
    later = Budget(calls=3, before=kept[-1])
    assert later.reserve(GPT, usage(10, 5)) is not None
    assert later.reserve(GPT, usage(10, 5)) is None


def test_what_cannot_be_kept_is_not_sent():
    def full(spent):
        raise UserError("no room")

    budget = Budget(calls=3, keep=full)
    with pytest.raises(UserError, match="no room"):
        budget.reserve(GPT, usage(10, 5))
    assert not budget.is_waiting
    assert budget.held == Spent()


def test_what_is_held_ends_at_nothing():
    budget = Budget(prices=Prices(known={("openai", "gpt-4o"): Price(input=1.1, output=0.7)}))
    under_way = [budget.reserve(GPT, usage(n, 3 * n)) for n in (1, 30, 7, 1000)]
    for held in under_way:
        budget.settle(GPT, held, usage(0, 0))
    assert budget.held == Spent(), "fractions of a cent are not left over"
    assert budget.spent.usd == 0


def test_the_file_of_what_is_spent(tmp_path):
    file = SpendingFile(tmp_path / "run" / "spending.json")
    assert file.read() is None
    assert not file.path.parent.exists(), "nothing is made before something is spent"
    file.write(Spent(calls=10**15, input_tokens=10**15, output_tokens=10**15, usd=-1 / 3 + 1e9, unpriced=10**15))
    sizes = {file.path.stat().st_size}
    spent = Spent(calls=2, input_tokens=30, output_tokens=4, usd=0.1 + 0.2, unpriced=1)
    file.write(spent)
    sizes.add(file.path.stat().st_size)
    assert sizes == {512}
    text = file.path.read_text()
    assert text.startswith('{"calls": 2, "input_tokens": 30, ')
    assert text.endswith(" \n")
    assert json.loads(text)["usd"] == 0.1 + 0.2
    assert SpendingFile(file.path).read() == spent
    file.path.unlink()
    file.write(spent)
    assert SpendingFile(file.path).read() == spent, "also when it is gone meanwhile"
    file.path.write_text(text * 2)  # as long as nobody would write it
    again = SpendingFile(file.path)
    again.write(spent)
    assert again.read() == spent


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"calls": 3}',
        '{"calls": 3, "input_tokens": 1, "output_tokens": 1, "usd": 0',
        '{"calls": -3, "input_tokens": 1, "output_tokens": 1, "usd": 0, "unpriced": 0}',
        '{"calls": "3", "input_tokens": 1, "output_tokens": 1, "usd": 0, "unpriced": 0}',
        '{"calls": 3, "input_tokens": 1, "output_tokens": 1, "usd": NaN, "unpriced": 0}',
        '{"calls": null, "input_tokens": 1, "output_tokens": 1, "usd": 0, "unpriced": 0}',
        b"\xff\xfe",
    ],
)
def test_a_file_that_does_not_say_what_was_spent_is_never_nothing(tmp_path, text):
    path = tmp_path / "spending.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match="does not say what the run has spent") as error:
        SpendingFile(path).read()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match=r"spending.json: what is spent cannot be kept \(") as error:
        SpendingFile(tmp_path / "run" / "spending.json").write(Spent())
    assert "\n" not in str(error.value)


SPENDER = """
import sys
from pathlib import Path
from softgrpo.spending.budget import Budget, SpendingFile, parse, Usage
file = SpendingFile(Path(sys.argv[1]))
budget, model = Budget(before=file.read(), keep=file.write), parse("gpt-4o")
most = Usage(input_tokens=10, output_tokens=5)
while True:
    held = budget.reserve(model, most)
    print(budget.spent.calls + 1, flush=True)  # sent
    budget.settle(model, held, most)
"""


def test_a_kill_forgets_nothing_and_leaves_the_file_whole(tmp_path):
    path, draw = tmp_path / "spending.json", random.Random(0)
    SpendingFile(path).write(Spent())
    for _ in range(10):
        spender = subprocess.Popen([sys.executable, "-c", SPENDER, path], stdout=subprocess.PIPE, text=True)
        spender.stdout.readline()
        time.sleep(draw.uniform(0, 0.05))
        spender.send_signal(signal.SIGKILL)
        told = [line for line in spender.communicate()[0].split("\n")[:-1] if line]
        found = SpendingFile(path).read()
        assert path.stat().st_size == 512
        assert found.tokens == 15 * found.calls
        # the last one may have been reserved and not yet told
        assert not told or int(told[-1]) <= found.calls <= int(told[-1]) + 1


@given(
    st.integers(0, 300),
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30), st.floats(0, 1), st.booleans()), max_size=30),
)
def test_no_sequence_of_attempts_exceeds_a_limit(limit, attempts):
    budget, under_way = Budget(calls=12, tokens=limit), []
    for read, written, share, settles in attempts:
        if held := budget.reserve(GPT, usage(read, written)):
            under_way.append((held, usage(int(read * share), int(written * share))))
        if settles and under_way:
            budget.settle(GPT, *under_way.pop(0))
        assert budget.spent.plus(budget.held).calls <= 12
        assert budget.spent.plus(budget.held).tokens <= limit


def test_threads_do_not_exceed_it_together():
    budget, got = Budget(calls=100), []

    def work():
        while held := budget.reserve(GPT, usage(1, 1)):
            got.append(held)
            budget.settle(GPT, held, usage(1, 0))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == budget.spent.calls == budget.spent.tokens == 100

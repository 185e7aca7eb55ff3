"""One local model asked by two threads at once: each finds what it finds alone."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from softgrpo.engines.local.policy import with_lora
from softgrpo.judges.embedded.hidden_states import follow, read
from softgrpo.models.local.capabilities import Capabilities
from softgrpo.records import Sampling

CHATS = [[{"role": "user", "content": "w1 " * (k + 1)}, {"role": "user", "content": f"w{k}"}] for k in range(6)]
SAMPLING = Sampling(n=3, max_tokens=12, seed=7)
TEXTS = [f"w{k} w{k + 1} w2 ." for k in range(8)]


def sampled(model):
    return model.generate(CHATS, SAMPLING)


def weighed(model):
    return model.label_logprobs(CHATS, ("A", "B")).tolist()


def continued(model):
    return model.mean_logprobs(TEXTS, [" w5 w6"] * len(TEXTS)).tolist()


def seen(model):
    found = read(model, TEXTS, question=" w3 w4", mean_layers=(0, 1), last_layers=(2,))
    after = follow(model, TEXTS, [" w7"] * len(TEXTS), [" w8 w9"] * len(TEXTS), layers=(1,))
    return [found.features.tolist(), found.fluency.tolist(), [x.tolist() for x in after.logprobs], after.means.tolist()]


WAYS = {"sampled": sampled, "weighed": weighed, "continued": continued, "seen": seen}


@pytest.fixture(autouse=True)
def often():
    """Threads change places many times within one forward pass."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def at_once(*works, times=3):
    """What each thread found, all of them begun together; an error where they wait for each other."""
    start = threading.Barrier(len(works), timeout=60)

    def run(work):
        start.wait()
        return [work() for _ in range(times)]

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(timeout=120) for future in [pool.submit(run, work) for work in works]]


@pytest.mark.parametrize("other", WAYS)
@pytest.mark.parametrize("one", ["sampled", "weighed"])
def test_two_threads_find_what_each_finds_alone(tiny, one, other):
    alone = {name: WAYS[name](tiny) for name in {one, other}}
    both = at_once(lambda: WAYS[one](tiny), lambda: WAYS[other](tiny))
    assert both == [[alone[one]] * 3, [alone[other]] * 3]
    assert tiny.module.config._attn_implementation == "sdpa"


def test_what_a_model_can_do_is_found_by_threads_that_begin_together(tiny):
    """None of them waits for a lock that is held by one who waits for it."""
    found = at_once(lambda: tiny.capabilities, lambda: weighed(tiny), lambda: sampled(tiny), times=1)
    assert tiny.capabilities == Capabilities(tree_attention=True, tree_mask=True, plain_head=True)
    assert found == [[tiny.capabilities], [weighed(tiny)], [sampled(tiny)]]


def test_a_base_is_judged_by_while_its_adapter_samples(tiny):
    """The adapter is on for the policy's steps alone, whoever asks the base meanwhile."""
    base = weighed(tiny)
    policy = with_lora(tiny, rank=4, alpha=8, dropout=0.0, seed=0)
    with torch.no_grad():
        for name, p in policy.trainable().items():
            if "lora_B" in name:
                p.add_(0.5)
    adapted = sampled(policy)
    with policy.active():
        assert not np.allclose(weighed(tiny), base)
    assert at_once(lambda: sampled(policy), lambda: weighed(tiny)) == [[adapted] * 3, [base] * 3]


def test_a_model_is_free_while_somebody_looks_at_what_came(tiny):
    stream = tiny.stream(CHATS, SAMPLING)
    first = next(stream)
    (others,) = at_once(lambda: weighed(tiny), times=1)
    assert others == [weighed(tiny)]
    assert dict([first, *stream]) == dict(enumerate(sampled(tiny)))

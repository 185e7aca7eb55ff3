"""The four losses against a reference that walks through the tokens one by one, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.grpo import LOSSES
from softgrpo.grpo.loss import k3, policy_loss, token_weights

LOW, HIGH, DUAL, BETA, LONGEST = 0.2, 0.3, 3.0, 0.07, 10


def drawn(lengths, seed=0, spread=0.4):
    """Log-probabilities of the policy, at sampling and of the reference: one float64 tensor per completion each."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda n: torch.randn(n, generator=generator, dtype=torch.float64)  # noqa: E731
    old = [-1 - normal(n).abs() for n in lengths]
    return [o + spread * normal(len(o)) for o in old], old, [o + spread * normal(len(o)) for o in old]


def reference(loss, new, old, ref, advantages):
    """The update's loss, and the sums of KL and clipped tokens, as one reads them in the papers, token by token."""
    total = kl_total = clipped_total = 0.0
    n_tokens = sum(len(n) for n in new)
    for new_i, old_i, ref_i, advantage in zip(new, old, ref, advantages, strict=True):
        length = len(new_i)
        mean_log_ratio = sum(new_i[t] - old_i[t] for t in range(length)) / length
        for t in range(length):
            ratio = torch.exp(mean_log_ratio if loss == "gspo" else new_i[t] - old_i[t])
            bounded = ratio.clamp(min=1 - LOW).clamp(max=1 + HIGH)
            surrogate = min(ratio * advantage, bounded * advantage)
            if advantage < 0:  # dual clip
                surrogate = max(surrogate, torch.full_like(ratio, DUAL * advantage))
            kl = torch.exp(ref_i[t] - new_i[t]) - (ref_i[t] - new_i[t]) - 1
            weight = {
                "grpo": 1 / length / len(new),
                "gspo": 1 / length / len(new),
                "dapo": 1 / n_tokens,
                "dr_grpo": 1 / LONGEST / len(new),
            }[loss]
            total = total - weight * (surrogate - BETA * kl)
            kl_total += kl.item()
            clipped_total += float(bounded * advantage < ratio * advantage)
    return total, kl_total, clipped_total


def ours(loss, new, old, ref, advantages, rows=None, lengths=None):
    """`policy_loss` on some completions of an update, by default all of them."""
    lengths = lengths or [len(n) for n in new]
    weights = token_weights(loss, lengths, max_completion_length=LONGEST)
    rows = list(range(len(new))) if rows is None else rows
    spread = lambda values: torch.tensor([values[i] for i in rows for _ in new[i]], dtype=torch.float64)  # noqa: E731
    return policy_loss(
        torch.cat([new[i] for i in rows]),
        torch.cat([old[i] for i in rows]),
        torch.cat([ref[i] for i in rows]) if ref else None,
        spread(advantages),
        spread(weights),
        torch.tensor([k for k, i in enumerate(rows) for _ in new[i]]),
        loss=loss,
        clip_low=LOW,
        clip_high=HIGH,
        kl_weight_beta=BETA,
    )


def learnable(tensors):
    return [t.clone().requires_grad_() for t in tensors]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_gradient_against_the_reference(loss, seed):
    new, old, ref = drawn([1, 5, 3, 10], seed)
    advantages = [1.3, -0.7, -2.0, 0.4]
    mine, theirs = learnable(new), learnable(new)
    terms = ours(loss, mine, old, ref, advantages)
    expected, kl, clipped = reference(loss, theirs, old, ref, advantages)
    terms.loss.backward()
    expected.backward()
    assert terms.loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert terms.kl.item() == pytest.approx(kl, rel=1e-12)
    assert terms.clipped.item() == pytest.approx(clipped, rel=1e-12)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("parts", [[[0], [1], [2], [3]], [[0, 2], [3, 1]], [[2], [0, 1, 3]]], ids=str)
def test_micro_batches_add_up_to_the_whole(loss, parts):
    new, old, ref = drawn([1, 5, 3, 10])
    advantages, lengths = [1.3, -0.7, -2.0, 0.4], [1, 5, 3, 10]
    whole, in_parts = learnable(new), learnable(new)
    at_once = ours(loss, whole, old, ref, advantages)
    at_once.loss.backward()
    pieces = [ours(loss, in_parts, old, ref, advantages, rows=rows, lengths=lengths) for rows in parts]
    for piece in pieces:
        piece.loss.backward()
    for name in ("loss", "kl", "clipped", "bounded", "mismatch_abs", "mismatch_k3"):
        total = sum(getattr(piece, name).item() for piece in pieces)
        assert total == pytest.approx(getattr(at_once, name).item(), rel=1e-12)
    for a, b in zip(whole, in_parts, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("ratio", "advantage", "surrogate", "slope"),
    [
        pytest.param(1.0, 2.0, 2.0, 2.0, id="on policy"),
        pytest.param(1.5, 1.0, 1.3, 0.0, id="good and already likelier: held back"),
        pytest.param(0.5, 1.0, 0.5, 0.5, id="good but less likely: pulled back in full"),
        pytest.param(0.5, -1.0, -0.8, 0.0, id="bad and already less likely: held back"),
        pytest.param(1.5, -1.0, -1.5, -1.5, id="bad but likelier: pushed down in full"),
    ],
)
@pytest.mark.parametrize("loss", LOSSES)
def test_clipping_on_both_sides(loss, ratio, advantage, surrogate, slope):
    """One token, clip range [0.8, 1.3]; the slope is that of the surrogate by the log-probability."""
    new = torch.tensor([-1.0 + math.log(ratio)], dtype=torch.float64, requires_grad=True)
    one = torch.ones(1, dtype=torch.float64)
    terms = policy_loss(
        new, -one, None, advantage * one, one, torch.tensor([0]), loss=loss, clip_low=LOW, clip_high=HIGH
    )
    terms.loss.backward()
    assert terms.loss.item() == pytest.approx(-surrogate)
    assert new.grad.item() == pytest.approx(-slope)
    assert terms.clipped.item() == float(slope == 0)


@pytest.mark.parametrize("loss", LOSSES)
def test_on_policy_the_gradient_is_minus_weight_times_advantage(loss):
    """At ratio 1 nothing is clipped and every surrogate is REINFORCE."""
    lengths, advantages = [2, 4], [1.0, -0.5]
    new, _, _ = drawn(lengths)
    mine = learnable(new)
    ours(loss, mine, new, None, advantages).loss.backward()
    weights = token_weights(loss, lengths, max_completion_length=LONGEST)
    for tensor, weight, advantage in zip(mine, weights, advantages, strict=True):
        expected = torch.full_like(tensor, -weight * advantage)
        torch.testing.assert_close(tensor.grad, expected)


def test_gspo_takes_one_ratio_per_completion():
    """Log-ratios 0.3 and -0.1 make a mean of 0.1 for both tokens; token by token 0.3 would be clipped."""
    old = torch.tensor([-1.0, -1.0, -2.0], dtype=torch.float64)
    new = old + torch.tensor([0.3, -0.1, 0.2], dtype=torch.float64)
    one, row = torch.ones(3, dtype=torch.float64), torch.tensor([0, 0, 1])
    weights = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)
    options = dict(clip_low=0.2, clip_high=0.25)
    by_completion = policy_loss(new, old, None, one, weights, row, loss="gspo", **options)
    assert by_completion.loss.item() == pytest.approx(-(math.exp(0.1) + math.exp(0.2)) / 2)
    assert by_completion.clipped.item() == 0
    by_token = policy_loss(new, old, None, one, weights, row, loss="grpo", **options)
    assert by_token.clipped.item() == 1


def test_without_a_reference_there_is_no_penalty():
    new, old, _ = drawn([3, 2])
    terms = ours("grpo", new, old, None, [1.0, 1.0])
    assert terms.kl.item() == 0


def test_the_sampling_log_probabilities_are_constants():
    new, old, _ = (learnable(t) for t in drawn([3, 2]))
    ours("grpo", new, old, None, [1.0, -1.0]).loss.backward()
    assert all(o.grad is None for o in old)


@given(st.lists(st.tuples(st.floats(-8, 0), st.floats(-8, 0)), min_size=1, max_size=10))
def test_k3_is_never_negative_and_zero_where_both_agree(logprobs):
    policy, ref = (torch.tensor(values, dtype=torch.float64) for values in zip(*logprobs, strict=True))
    assert (k3(policy, ref) >= -1e-12).all()
    assert (k3(policy, policy) == 0).all()


def test_k3_is_the_divergence_on_average():
    """Over the policy's own distribution its mean is KL(policy, reference)."""
    policy = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    ref = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
    kl = (policy * (policy / ref).log()).sum()
    assert (policy * k3(policy.log(), ref.log())).sum().item() == pytest.approx(kl.item())


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("grpo", [1 / 2 / 2, 1 / 2 / 8]),
        ("gspo", [1 / 2 / 2, 1 / 2 / 8]),
        ("dapo", [1 / 10, 1 / 10]),
        ("dr_grpo", [1 / 2 / 10, 1 / 2 / 10]),
    ],
)
def test_token_weights_of_completions_of_two_and_eight_tokens(loss, expected):
    assert token_weights(loss, [2, 8], max_completion_length=LONGEST) == pytest.approx(expected)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.sampled_from(["grpo", "gspo", "dapo"]))
def test_weights_make_a_mean(lengths, loss):
    weights = token_weights(loss, lengths, max_completion_length=50)
    assert sum(w * n for w, n in zip(weights, lengths, strict=True)) == pytest.approx(1)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12))
def test_dr_grpo_weighs_every_token_alike_whatever_the_lengths(lengths):
    weights = token_weights("dr_grpo", lengths, max_completion_length=50)
    assert weights == [1 / (len(lengths) * 50)] * len(lengths)


def one_token(new, old, advantage, ref=None, **options):
    """The terms of one token of weight 1, and its log-probability, to which the loss is differentiated."""
    new = torch.tensor([float(new)], requires_grad=True)
    old, ref = (None if x is None else torch.tensor([float(x)]) for x in (old, ref))
    one = torch.ones(1)
    terms = policy_loss(new, old, ref, advantage * one, one, torch.tensor([0]), **options)
    terms.loss.backward()
    return terms, new.grad.item()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_ratio_counts_at_most_three_times_where_the_advantage_is_negative(loss):
    """Sampled at -15 and learned at -3 the ratio is e^12 = 162,755; dual clip makes it 3, and nothing pulls."""
    terms, slope = one_token(-3, -15, -1.0, loss=loss)
    assert terms.loss.item() == pytest.approx(3.0)
    assert (slope, terms.bounded.item(), terms.clipped.item()) == (0.0, 1.0, 0.0)
    terms, slope = one_token(-3, -15, -1.0, loss=loss, clip_dual=10.0)
    assert terms.loss.item() == pytest.approx(10.0)
    terms, slope = one_token(math.log(2.9) - 5, -5, -1.0, loss=loss)
    assert (terms.loss.item(), slope) == (pytest.approx(2.9, rel=1e-5), pytest.approx(2.9, rel=1e-5))
    assert terms.bounded.item() == 0
    terms, slope = one_token(-3, -15, 1.0, loss=loss)
    assert (terms.loss.item(), terms.bounded.item()) == (pytest.approx(-1.2), 0), "held back by the usual clip"


def test_on_policy_the_smallest_bound_leaves_the_gradient_whole():
    terms, slope = one_token(-1, -1, -2.0, clip_dual=1.0)
    assert (terms.loss.item(), slope, terms.bounded.item()) == (2.0, 2.0, 0)


def test_a_log_ratio_beyond_twenty_counts_as_twenty():
    """Either way, and without a gradient."""
    terms, slope = one_token(-0.5, -30, 1.0)
    assert (terms.loss.item(), slope, terms.bounded.item()) == (pytest.approx(-1.2), 0, 1)
    terms, slope = one_token(-30, -0.5, 1.0)
    assert terms.loss.item() == pytest.approx(-math.exp(-20), rel=1e-4)
    assert (slope, terms.bounded.item()) == (0, 1)


@pytest.mark.parametrize(
    ("new", "ref", "kl", "slope", "bounded"),
    [
        pytest.param(-1.0, -1.0, 0, 0, 0, id="agree"),
        pytest.param(-3.0, -1.0, math.exp(2) - 3, 1 - math.exp(2), 0, id="below the bound"),
        pytest.param(-4.0, -1.0, 10, 0, 1, id="e^3 - 4 = 16.1"),
        pytest.param(-1.0, -5.0, math.exp(-4) + 3, 1 - math.exp(-4), 0, id="the reference finds it unlikely"),
        pytest.param(-1.0, -90.0, 10, 0, 1, id="very unlikely"),
        pytest.param(-1.0, -math.inf, 10, 0, 1, id="impossible"),
        pytest.param(-math.inf, -1.0, 10, 0, 1, id="impossible for the policy"),
        pytest.param(-math.inf, -math.inf, 0, 0, 0, id="impossible for both"),
    ],
)
def test_the_penalty_of_a_token_is_ten_at_most(new, ref, kl, slope, bounded):
    """Its slope is that of k3 by the log-probability, 1 - e^d, and none beyond the bound."""
    terms, found = one_token(new, new, 0.0, ref, kl_weight_beta=1.0)
    assert terms.kl.item() == pytest.approx(kl, rel=1e-5)
    assert terms.loss.item() == pytest.approx(kl, rel=1e-5)
    assert found == pytest.approx(slope, rel=1e-5)
    assert terms.bounded.item() == bounded


logprobs = st.sampled_from([-math.inf, math.inf, 0.0, -1e38, -3e38]) | st.floats(-1e30, 0) | st.floats(-30, 0)


@given(
    st.lists(st.tuples(logprobs, logprobs, logprobs, st.floats(-100, 100)), min_size=1, max_size=6),
    st.sampled_from(tuple(LOSSES)),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_whatever_the_log_probabilities_loss_and_gradient_are_finite_and_bounded(rows, loss, dtype):
    new, old, ref, advantages = (torch.tensor(x, dtype=dtype) for x in zip(*rows, strict=True))
    new.requires_grad_()
    n = len(rows)
    weights, row = torch.full((n,), 1 / n, dtype=dtype), torch.arange(n) // 2
    terms = policy_loss(new, old, ref, advantages, weights, row, loss=loss, kl_weight_beta=0.1)
    terms.loss.backward()
    assert torch.isfinite(terms.loss)
    assert -1.2 * 100 - 1e-3 <= terms.loss.item() <= 3 * 100 + 0.1 * 10 + 1e-3
    assert torch.isfinite(new.grad).all()
    for value in (terms.kl, terms.mismatch_abs, terms.mismatch_k3):
        assert torch.isfinite(value)
        assert value >= 0
    assert 0 <= terms.bounded <= n
    assert terms.mismatch_abs <= 20 * n


def test_what_is_no_number_stays_none():
    """A broken model is seen, and its update skipped: only infinities are bounded."""
    terms, _ = one_token(math.nan, -1, 1.0)
    assert math.isnan(terms.loss.item())
    terms, _ = one_token(-1, -1, 0.0, math.nan, kl_weight_beta=1.0)
    assert math.isnan(terms.loss.item())


def test_tokens_that_meet_a_bound_are_counted_once():
    """A ratio over three under a negative advantage, a log-ratio over twenty and a penalty over ten; then none."""
    new = torch.tensor([-1.0, -1.0, -5.0, -25.0, -1.0])
    old = torch.tensor([-3.0, -25.0, -5.0, -1.0, -1.1])
    ref = torch.tensor([-1.0, -25.0, -1.0, -1.0, -1.0])
    advantages = torch.tensor([-1.0, -1.0, 1.0, 1.0, -1.0])
    terms = policy_loss(new, old, ref, advantages, torch.ones(5), torch.zeros(5, dtype=torch.long))
    assert terms.bounded.item() == 4


def test_mismatch_is_that_of_learner_and_sampler_by_hand():
    """Log-ratios 0.5 and -0.2: 0.7 in all, and e^0.5 - 1.5 + e^-0.2 - 0.8; the loss has no part in it."""
    old = torch.tensor([-1.0, -2.0], dtype=torch.float64)
    new, one = old + torch.tensor([0.5, -0.2], dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    for loss in LOSSES:
        terms = policy_loss(new, old, None, one, one, torch.tensor([0, 0]), loss=loss)
        assert terms.mismatch_abs.item() == pytest.approx(0.7)
        assert terms.mismatch_k3.item() == pytest.approx(math.exp(0.5) - 1.5 + math.exp(-0.2) - 0.8)


@pytest.mark.parametrize("name", ["ppo", "", "GRPO"])
def test_an_unknown_loss_is_an_error_that_names_the_choices(name):
    with pytest.raises(ValueError, match="choose from grpo, dr_grpo, dapo, gspo"):
        token_weights(name, [1], max_completion_length=8)
    with pytest.raises(ValueError, match="choose from grpo, dr_grpo, dapo, gspo"):
        one_token(-1, -1, 1.0, loss=name)

"""The sampling kernels against their definitions, under Triton's interpreter or on a GPU. test_triton.py runs this."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from support.sampling_filters import FILTERS

from loraplex_kernels.ops.sampling import Columns
from loraplex_kernels.ops.sampling.naive import draw_naive, kept_naive, weights_naive
from loraplex_kernels.ops.sampling.triton_argmax import argmax_triton
from loraplex_kernels.ops.sampling.triton_draw import draw_triton
from loraplex_kernels.ops.sampling.triton_score import score_triton

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
INF = float("inf")


def draw(logits, temperature=1.0, uniform=0.5, top_k=0, top_p=1.0, min_p=0.0, vocab=None):
    """Each row with the same settings, but for its number."""
    rows = logits.shape[0]
    uniform = torch.tensor([uniform] * rows) if isinstance(uniform, float) else torch.as_tensor(uniform)
    columns = Columns(
        torch.full((rows,), temperature),
        uniform.double(),
        torch.full((rows,), top_k, dtype=torch.int32),
        torch.full((rows,), top_p, dtype=torch.float64),
        torch.full((rows,), min_p, dtype=torch.float64),
        torch.full((rows,), vocab or logits.shape[1], dtype=torch.int32),
    )
    there = Columns(*(column.to(DEVICE) for column in columns))
    return draw_triton(logits.to(DEVICE), there, block=512).cpu(), columns


def matches(logits, **how):
    """The very tokens of the definition under the interpreter; on a GPU, whose exponential is not NumPy's to the last
    bit, one of those that it keeps, a boundary token aside."""
    found, columns = draw(logits, **how)
    if INTERPRETED:
        assert torch.equal(found, draw_naive(logits, columns))
        return
    assert (found == draw_naive(logits, columns)).double().mean() > 0.9


@pytest.mark.covering(2)
@pytest.mark.parametrize("how", FILTERS, ids=str)
@pytest.mark.parametrize("spread", [0.05, 3.0])
@pytest.mark.parametrize("ties", [False, True])
def test_the_token_is_the_one_of_the_sorted_definition(how, spread, ties):
    torch.manual_seed(1)
    logits = torch.randn(2, 1100) * spread
    if ties:
        logits = (logits * 2 / spread).round() * spread / 2
    matches(logits, temperature=0.8, uniform=torch.rand(2, dtype=torch.float64), **how)


@pytest.mark.parametrize("how", [{"top_k": 6}, {"top_p": 0.5}, {"top_k": 9, "top_p": 0.6}], ids=str)
def test_a_sweep_of_the_number_meets_each_kept_token_and_no_other(how):
    logits = (torch.randn(1, 700, generator=torch.Generator().manual_seed(2)) * 4).round() / 2
    row = logits[0].numpy()
    kept = kept_naive(row, weights_naive(row, 2.0), how.get("top_k", 0), how.get("top_p", 1.0), 0.0)
    steps = 12 if INTERPRETED else 40  # interpreted, each takes a third of a second
    uniform = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    found, _ = draw(logits.expand(steps, -1).contiguous(), temperature=2.0, uniform=uniform, **how)
    assert found.tolist() == sorted(found.tolist())  # by ascending id
    assert set(found.tolist()) <= set(kept)
    assert len(set(found.tolist())) > min(len(kept), steps) * 0.5


def test_all_equal_keeps_the_first():
    logits = torch.zeros(2, 1200)
    for how in ({"top_k": 5}, {"top_p": 5 / 1200}):
        found, _ = draw(logits, uniform=[0.0, 1 - 2**-53], **how)
        assert found.tolist() == [0, 4]


def test_masked_tokens_are_never_drawn():
    logits = torch.full((3, 900), -INF)
    logits[:, [70, 500, 899]] = torch.tensor([1.0, 2.0, 0.5])
    for how in ({}, {"top_k": 800}, {"top_p": 0.99}, {"top_k": 2}):
        found, _ = draw(logits, uniform=[0.0, 0.5, 1 - 2**-53], **how)
        assert set(found.tolist()) <= {70, 500, 899}
        matches(logits, uniform=[0.0, 0.5, 1 - 2**-53], **how)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_that_are_not_finite_choose_nothing_and_spare_their_neighbours(temperature):
    logits = torch.randn(5, 600, generator=torch.Generator().manual_seed(3))
    alone, _ = draw(logits[3:], temperature=temperature, top_p=0.9)
    logits[0, 5], logits[1, 599], logits[2] = float("nan"), INF, -INF
    found, _ = draw(logits, temperature=temperature, top_p=0.9)
    assert found.tolist() == [-1, -1, -1, *alone.tolist()]
    assert argmax_triton(logits.to(DEVICE), logsum=False, block=512)[0][:3].tolist() == [-1, -1, -1]


def test_a_row_does_not_feel_what_lies_beyond_its_vocabulary():
    logits = torch.randn(2, 700, generator=torch.Generator().manual_seed(4))
    wide = torch.cat([logits, torch.full((2, 900), 50.0)], dim=1)
    for how in ({}, {"top_k": 3}, {"top_p": 0.7}, {"temperature": 0.0}):
        assert torch.equal(draw(logits, **how)[0], draw(wide, vocab=700, **how)[0])


@pytest.mark.filterwarnings("ignore:overflow")  # differences past float32 are -inf, and weigh nothing
@pytest.mark.filterwarnings("ignore:invalid value")  # where both ends are infinite, halfway between the bits is tried
def test_large_logits_and_temperatures():
    logits = torch.tensor([[3e38, -3e38, 2.9e38, 0.0], [-0.0, 0.0, -0.0, -1e-45]])
    for temperature in (1e-4, 1.0, 1e30, 3e38):
        for how in ({}, {"top_k": 2}, {"top_p": 0.6}):
            matches(logits, temperature=temperature, uniform=[0.3, 0.9], **how)


@pytest.mark.parametrize("width", [1, 512, 1300])
def test_the_likeliest_token_and_the_sum_of_all(width):
    logits = (torch.randn(4, width + 3) * 5).round()[:, :width]
    coded, logsum = argmax_triton(logits.to(DEVICE), logsum=True, block=512)
    first = torch.from_numpy(logits.numpy().argmax(axis=1))
    assert torch.equal(coded.cpu(), first)
    torch.testing.assert_close(logsum.cpu().double(), logits.double().logsumexp(-1), rtol=1e-6, atol=1e-6)


def test_scores_of_chosen_tokens():
    logits = (torch.randn(5, 1300) * 5).round()
    logits[1, 100:] = -INF
    rows, tokens = torch.tensor([4, 1, 1]), torch.tensor([1299, 3, 99])
    logsum, rank = score_triton(logits.to(DEVICE), rows.to(DEVICE), tokens.to(DEVICE), block=512)
    of = logits[rows].double()
    torch.testing.assert_close(logsum.cpu().double(), of.logsumexp(-1), rtol=1e-6, atol=1e-6)
    assert torch.equal(rank.cpu(), (of > of.gather(1, tokens[:, None])).sum(-1) + 1)


def test_what_the_kernels_do_not_take_is_refused():
    with pytest.raises(ValueError, match="float32"):
        argmax_triton(torch.zeros(2, 4, dtype=torch.float64), logsum=False)
    with pytest.raises(ValueError, match="float32"):
        draw(torch.zeros(2, 4, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match="larger"):
        draw(torch.zeros(1, 1).expand(1, (1 << 20) + 1).contiguous())
    with pytest.raises(ValueError, match="rows"):
        score_triton(torch.zeros(2, 4), torch.tensor([0]), torch.tensor([0, 1]))


def test_the_reference_is_the_textbook_in_law():
    """The reference itself, against a softmax in float64."""
    row = np.random.default_rng(0).standard_normal(200).astype(np.float32) * 3
    weights = weights_naive(row, 1.3)
    textbook = torch.softmax(torch.from_numpy(row).double() / 1.3, -1).numpy()
    np.testing.assert_allclose(weights / weights.sum(), textbook, rtol=2e-5, atol=1e-11)

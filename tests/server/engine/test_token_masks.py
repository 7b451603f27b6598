"""Forbidding tokens: just those of just the rows that have a mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from loraplex_server.engine.messages import SamplingParams
from loraplex_server.engine.sample_inputs import sample_inputs
from loraplex_server.engine.sampler import sample_on_device
from loraplex_server.engine.sequence import Sequence
from loraplex_server.engine.token_masks import DEAD_END, allowed_bits, forbid, forbid_at_once

VOCAB = 203  # no multiple of 8


def sequence(**sampling: object) -> Sequence:
    params = SamplingParams(**({"max_tokens": 5, "temperature": 0.0} | sampling))
    return Sequence("a", 0, 1, params, 100, [1])


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(4, VOCAB, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("at_once", [False, True])
def test_what_a_mask_lacks_is_forbidden_and_nothing_else_is_touched(logits: torch.Tensor, at_once: bool) -> None:
    wanted = [[0, 7, 8, 202], [150]]
    changed = logits.clone()
    rows = torch.tensor([1, 3])
    if at_once:
        forbidden = torch.ones(2, VOCAB, dtype=torch.bool)
        for row, tokens in enumerate(wanted):
            forbidden[row, tokens] = False
        forbid_at_once(changed, rows, forbidden)
    else:
        forbid(changed, rows, torch.from_numpy(np.stack([allowed_bits(tokens, VOCAB) for tokens in wanted])))
    expected = logits.clone()
    for row, tokens in zip((1, 3), wanted, strict=True):
        expected[row] = -torch.inf
        expected[row, tokens] = logits[row, tokens]
    assert torch.equal(changed, expected)


def test_a_list_of_allowed_tokens_binds_its_own_row(logits: torch.Tensor) -> None:
    free, bound = sequence(), sequence(allowed_token_ids=(9, 10), logprobs=0)
    sampled = sample_on_device(logits, sample_inputs([free, free, bound, free], VOCAB))
    best = logits.argmax(dim=-1)
    assert sampled.coded[[0, 1, 3]].tolist() == best[[0, 1, 3]].tolist()
    token = int(sampled.coded[2])
    assert token == (9 if logits[2, 9] > logits[2, 10] else 10)
    assert sampled.scored is not None
    assert float(sampled.scored.chosen[0]) == pytest.approx(float(logits[2].log_softmax(-1)[token]), abs=1e-5)


def test_a_row_that_is_left_nothing_says_so(logits: torch.Tensor) -> None:
    bound = sequence(allowed_token_ids=(9,), stop_token_ids=(9,), min_tokens=2)
    inputs = sample_inputs([bound], VOCAB)
    assert bound.dead_end == DEAD_END
    assert sample_on_device(logits[:1].clone(), inputs).coded.tolist() == [-1]

"""Scores over vocabularies of different sizes in one step."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from loraplex_adapters.terms import Terms, TokenRows
from loraplex_kernels.linear import make_weight
from loraplex_kernels.lora import SiteGroup
from loraplex_server.models.adapter_step import AdapterStep, TermUse
from loraplex_server.models.head import Head

VOCAB, WIDTH, SITE = 40, 16, 7


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def use(terms: Terms, row: int, weight: float = 1.0) -> TermUse:
    return TermUse(terms, torch.tensor([row]), weight)


@pytest.fixture(params=[None, 3.0], ids=["plain", "softcap"])
def head(request: pytest.FixtureRequest) -> Head:
    weight = make_weight(random(VOCAB, WIDTH), "none", torch.float32, torch.device("cpu"))
    return Head(weight, SiteGroup((SITE,), (VOCAB,)), request.param)


def expected(head: Head, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    logits = F.linear(hidden, weight)
    return logits if head.softcap is None else head.softcap * torch.tanh(logits / head.softcap)


@torch.inference_mode()
def test_each_row_has_the_scores_of_its_own_vocabulary_and_no_others(head: Head) -> None:
    hidden = random(4, WIDTH, seed=1)
    larger, largest, smaller = random(44, WIDTH, seed=2), random(49, WIDTH, seed=3), random(33, WIDTH, seed=4)
    weights = [random(VOCAB, WIDTH), larger, largest, smaller]
    uses = tuple(use(Terms(weight={SITE: weight}), row) for row, weight in enumerate(weights) if row > 0)
    logits = head.logits(hidden, AdapterStep(terms=uses))
    widest = logits.shape[1]
    assert widest >= 49
    assert widest % 16 == VOCAB % 16  # as its kernels are compiled for the base's
    for row, weight in enumerate(weights):
        own = len(weight)
        torch.testing.assert_close(logits[row, :own], expected(head, hidden[row], weight), atol=1e-5, rtol=0)
        assert torch.equal(logits[row, own:], torch.full((widest - own,), -torch.inf))


@torch.inference_mode()
def test_rows_of_single_tokens_replace_those_of_the_own_weight_or_of_the_base(head: Head) -> None:
    hidden, own, rows = random(2, WIDTH, seed=1), random(44, WIDTH, seed=2), random(3, WIDTH, seed=3)
    base = Terms(output_tokens=TokenRows(torch.tensor([1, 5, 39]), rows))
    larger = Terms(weight={SITE: own}, output_tokens=TokenRows(torch.tensor([1, 39, 42]), rows))
    logits = head.logits(hidden, AdapterStep(terms=(use(base, 0), use(larger, 1))))
    of_base = random(VOCAB, WIDTH).index_copy(0, torch.tensor([1, 5, 39]), rows)
    of_larger = own.index_copy(0, torch.tensor([1, 39, 42]), rows)
    torch.testing.assert_close(logits[0, :VOCAB], expected(head, hidden[0], of_base), atol=1e-5, rtol=0)
    torch.testing.assert_close(logits[1, : len(own)], expected(head, hidden[1], of_larger), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_step_without_other_vocabularies_is_as_wide_as_the_base(head: Head) -> None:
    hidden = random(2, WIDTH, seed=1)
    moved = head.logits(hidden, AdapterStep(terms=(use(Terms(bias={SITE: torch.ones(VOCAB)}), 1, 0.5),)))
    torch.testing.assert_close(moved[0], expected(head, hidden[0], random(VOCAB, WIDTH)), atol=1e-5, rtol=0)
    with_bias = F.linear(hidden[1], random(VOCAB, WIDTH)) + 0.5
    cap = head.softcap
    torch.testing.assert_close(moved[1], with_bias if cap is None else cap * torch.tanh(with_bias / cap))

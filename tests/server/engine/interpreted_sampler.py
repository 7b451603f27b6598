"""The sampler's way on a GPU, under Triton's interpreter or on one. test_sampler_triton.py runs this file."""

from __future__ import annotations

import os

import pytest
import torch

from loraplex_server.engine import sampler
from loraplex_server.engine.choice import Choosing
from loraplex_server.engine.messages import SamplingParams
from loraplex_server.engine.sample_inputs import sample_inputs
from loraplex_server.engine.sequence import Sequence

DEVICE = torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")
VOCAB = 900
PROMPT, OUTPUT = [5, 6, 7, VOCAB + 3], [8, 8, 9]


def sequence(vocab=VOCAB, **sampling) -> Sequence:
    params = SamplingParams(**({"max_tokens": 99, "seed": 1, "temperature": 0} | sampling))
    tokens = [*PROMPT, *OUTPUT]
    made = Sequence(request_id="r", index=0, prompt_len=len(PROMPT), sampling=params, max_len=999, tokens=tokens)
    made.vocab = vocab
    return made


def on_gpu(logits, sequences, pending=None):
    inputs = sample_inputs(sequences, logits.shape[1], pending)
    return Choosing(sampler._sample_gpu(logits.to(DEVICE), inputs), inputs).finish()


def on_cpu(logits, sequences):
    inputs = sample_inputs(sequences, logits.shape[1])
    return Choosing(sampler.sample_on_device(logits, inputs), inputs).finish()


def same(found, expected):
    assert [choice.token for choice in found] == [choice.token for choice in expected]
    for one, other in zip(found, expected, strict=True):
        assert (one.logprob is None) == (other.logprob is None)
        if one.logprob is not None and other.logprob is not None:
            assert (one.logprob.token_id, one.logprob.rank) == (other.logprob.token_id, other.logprob.rank)
            assert one.logprob.logprob == pytest.approx(other.logprob.logprob, abs=1e-5)
            assert [token for token, _ in one.logprob.top] == [token for token, _ in other.logprob.top]
            values = [value for _, value in other.logprob.top]
            assert [value for _, value in one.logprob.top] == pytest.approx(values, abs=1e-5)


@pytest.fixture
def logits():
    rows = torch.randn(4, VOCAB + 20, generator=torch.Generator().manual_seed(0)) * 3
    rows[:3, VOCAB:] = -torch.inf  # the last row's adapter has more tokens
    rows[3, VOCAB + 5] = 30.0
    return rows


@pytest.mark.parametrize("asked", [(), (0, 1, 2, 3), (1, 3)])
@pytest.mark.parametrize("alternatives", [0, 4])
@pytest.mark.parametrize("adjusted", [False, True])
def test_greedy_rows_choose_and_report_what_they_do_on_the_cpu(logits, asked, alternatives, adjusted):
    best = int(logits[0].argmax())
    changes = [
        {"logit_bias": {3: 50.0, best: -100.0}},
        {"repetition_penalty": 1.5, "presence_penalty": 0.5, "frequency_penalty": -0.7},
        {"min_tokens": 9, "stop_token_ids": (int(logits[2].argmax()), VOCAB + 1)},
        {},
    ]
    sequences = [
        sequence(
            vocab=VOCAB + 20 if row == 3 else VOCAB,
            logprobs=alternatives if row in asked else None,
            **(changes[row] if adjusted else {}),
        )
        for row in range(4)
    ]
    before = logits.clone()
    found = on_gpu(logits, sequences)
    same(found, on_cpu(logits, sequences))
    assert torch.equal(logits, before)
    assert found[3].token == VOCAB + 5


def test_rows_without_a_choice_are_told_among_those_with_one(logits):
    logits[1, 3], logits[2, 4] = float("nan"), float("inf")
    for temperature in (0, 1.0):
        found = on_gpu(logits, [sequence(VOCAB + 20, temperature=temperature) for _ in range(4)])
        assert [choice.token is None for choice in found] == [False, True, True, False]


def test_a_random_row_spends_one_number_and_draws_what_it_keeps(logits):
    likeliest = set(logits[0].topk(3).indices.tolist())
    one, other = sequence(temperature=1.0, top_k=3), sequence(temperature=1.0, top_k=3)
    drawn = {on_gpu(logits[:1], [one], [at])[0].token for at in range(6)}
    assert drawn <= likeliest
    for _ in range(other.num_output + 6):
        other.rng.random()
    assert one.rng.random() == other.rng.random()

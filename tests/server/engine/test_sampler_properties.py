"""What the sampler keeps and draws, against the sorted definition, on whatever logits hypothesis comes up with."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraplex_kernels.ops.sampling.naive import kept_naive, weights_naive
from loraplex_server.engine.messages import SamplingParams
from loraplex_server.engine.sample_inputs import sample_inputs
from loraplex_server.engine.sampler import sample, sample_on_device
from loraplex_server.engine.sequence import Sequence

# Eighths: equals and near equals are common, and a softmax of them differs by more than float32's rounding.
LOGITS = st.lists(st.one_of(st.integers(-40, 40).map(lambda n: n / 8), st.just(-math.inf)), min_size=1, max_size=40)
FILTERS = st.fixed_dictionaries(
    {
        "top_k": st.sampled_from([0, 1, 2, 5, 30]),
        "top_p": st.sampled_from([1.0, 0.9, 0.503, 0.117]),
        "min_p": st.sampled_from([0.0, 0.013, 0.3, 1.0]),
        "temperature": st.sampled_from([0.5, 1.0, 1.7]),
    }
)
quickly = settings(max_examples=60)


def sequence(**sampling) -> Sequence:
    params = SamplingParams(**({"max_tokens": 99, "seed": 1} | sampling))
    return Sequence(request_id="r", index=0, prompt_len=1, sampling=params, max_len=10_000, tokens=[0])


class Numbers(random.Random):
    """A sequence's random numbers, told beforehand."""

    def __init__(self, numbers) -> None:
        super().__init__()
        self.numbers = iter(numbers)

    def random(self) -> float:
        return next(self.numbers)


def swept(logits, one, steps):
    """The tokens of evenly spaced numbers: how often each comes is its probability, to a step."""
    one.rng = Numbers((np.arange(steps) + 0.5) / steps)
    return sample(logits.expand(steps, -1), [one] * steps, range(steps))


@quickly
@given(LOGITS, FILTERS)
def test_what_is_drawn_is_what_the_sorted_definition_keeps_as_often_as_it_says(values, filters):
    row = np.array(values, dtype=np.float32)
    logits, steps = torch.from_numpy(row)[None], 400
    found = swept(logits, sequence(**filters), steps)
    if not np.isfinite(row.max()):
        assert found == [None] * steps
        return
    weights = weights_naive(row, filters["temperature"])
    kept = kept_naive(row, weights, filters["top_k"], filters["top_p"], filters["min_p"])
    # Of equals at the edge torch.topk may take any, so tokens are told apart by their logit alone.
    total = sum(int(weights[token]) for token in kept)
    for value in {float(row[token]) for token in [*kept, *(token for token in found if token is not None)]}:
        expected = sum(int(weights[token]) for token in kept if row[token] == value) / total
        assert abs(sum(row[token] == value for token in found) / steps - expected) <= 3 / steps


@quickly
@given(st.lists(LOGITS, min_size=1, max_size=4), st.data())
def test_a_row_chooses_alone_what_it_chooses_among_others(rows, data):
    width = max(len(row) for row in rows)
    logits = torch.full((len(rows), width), -math.inf)
    for index, row in enumerate(rows):
        logits[index, : len(row)] = torch.tensor(row)
    params = [data.draw(FILTERS) | {"seed": index} for index in range(len(rows))]
    together = sample(logits, [sequence(**each) for each in params])
    assert together == [sample(logits[i : i + 1], [sequence(**each)])[0] for i, each in enumerate(params)]


@quickly
@given(LOGITS, FILTERS, st.sampled_from([math.nan, math.inf]), st.integers(0, 39))
def test_what_is_not_finite_is_never_chosen_from(values, filters, poison, at):
    values[at % len(values)] = poison
    assert sample(torch.tensor([values]), [sequence(**filters)]) == [None]


def test_inputs_are_plain_arrays_and_draw_one_number_a_random_row():
    one, greedy = sequence(), sequence(temperature=0)
    state = greedy.rng.getstate()
    inputs = sample_inputs([one, greedy], 50)
    assert all(isinstance(column, np.ndarray) for column in inputs.columns)
    assert inputs.uniform[0] == random.Random("1:0").random()
    assert greedy.rng.getstate() == state
    assert not inputs.greedy
    assert sample_inputs([greedy], 50).greedy
    with pytest.raises(ValueError, match="rows"):
        sample_on_device(torch.zeros(3, 50), inputs)


def test_pending_tokens_count_for_min_tokens_and_keep_penalties_waiting():
    early = sequence(min_tokens=2, stop_token_ids=(3,), temperature=0)
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    assert sample_on_device(logits, sample_inputs([early], 4, [1])).coded.tolist() == [2]
    assert sample_on_device(logits, sample_inputs([early], 4, [2])).coded.tolist() == [3]
    penalized = sequence(frequency_penalty=0.5)
    assert penalized.reads_output
    assert not early.reads_output
    with pytest.raises(ValueError, match="pending"):
        sample_inputs([penalized], 4, [1])


def test_a_bias_for_a_token_without_a_logit_is_refused():
    with pytest.raises(ValueError, match="vocabulary of 4"):
        sample_inputs([sequence(logit_bias={4: 1.0})], 4)


def test_what_nothing_can_be_chosen_from_still_gives_an_id_to_embed():
    sampled = sample_on_device(torch.tensor([[math.nan, 1.0]]), sample_inputs([sequence()], 2))
    assert sampled.coded.tolist() == [-1]
    assert sampled.next_ids.tolist() == [0]

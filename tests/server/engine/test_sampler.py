"""Tokens are drawn from the distribution that was asked for, whatever else is in the batch."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from loraplex_kernels import native
from loraplex_server.engine.choice import choose
from loraplex_server.engine.messages import SamplingParams
from loraplex_server.engine.sample_inputs import SampleSettings
from loraplex_server.engine.sampler import sample, sample_on_device
from loraplex_server.engine.sequence import Sequence

VOCAB = 1300  # more than two blocks of the cumulative sum, more than the first candidates


@pytest.fixture(autouse=True, params=["compiled", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the compiled kernel, and through torch as where there is none."""
    if request.param == "torch":
        monkeypatch.setattr(native, "library", lambda: None)
    elif native.library() is None:
        pytest.skip(native.status())


def sequence(prompt: list[int] | None = None, output: list[int] | None = None, **sampling: object) -> Sequence:
    prompt = [0] if prompt is None else prompt
    return Sequence(
        request_id="r",
        index=0,
        prompt_len=len(prompt),
        sampling=SamplingParams(**({"max_tokens": 99, "seed": 1} | sampling)),
        max_len=10_000,
        tokens=[*prompt, *(output or [])],
    )


def draws(logits: torch.Tensor, one: Sequence, times: int = 4000) -> Counter[int]:
    rows = logits.expand(50, -1)
    return Counter(token for at in range(0, times, 50) for token in sample(rows, [one] * 50, range(at, at + 50)))


def frequencies_match(counts: Counter[int], probs: torch.Tensor) -> bool:
    total = sum(counts.values())
    return all(
        abs(counts[token] / total - p) < 4 * (p * (1 - p) / total) ** 0.5 + 1e-3
        for token, p in enumerate(probs.tolist())
        if p > 0 or counts[token]
    )


@pytest.fixture
def logits() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, VOCAB, generator=generator) * 3


def test_temperature_zero_takes_the_likeliest(logits: torch.Tensor) -> None:
    assert sample(logits, [sequence(temperature=0)]) == [int(logits.argmax())]


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_draws_follow_the_softmax(logits: torch.Tensor, temperature: float) -> None:
    counts = draws(logits, sequence(temperature=temperature))
    assert frequencies_match(counts, torch.softmax(logits[0] / temperature, -1))


def test_top_k_draws_from_the_k_likeliest_only(logits: torch.Tensor) -> None:
    counts = draws(logits, sequence(top_k=5))
    kept = logits[0].topk(5)
    assert set(counts) <= set(kept.indices.tolist())
    expected = torch.zeros(VOCAB).scatter(0, kept.indices, torch.softmax(kept.values, -1))
    assert frequencies_match(counts, expected)


def test_min_p_drops_what_is_far_below_the_likeliest(logits: torch.Tensor) -> None:
    probs = torch.softmax(logits[0], -1)
    expected = torch.where(probs >= 0.2 * probs.max(), probs, 0.0)
    assert frequencies_match(draws(logits, sequence(min_p=0.2)), expected / expected.sum())


@pytest.mark.parametrize("flatness", [1.0, 0.01])  # a flat one needs far more than the first candidates
@pytest.mark.parametrize("top_k", [0, 200, 700, VOCAB])
def test_top_p_keeps_the_smallest_set_that_reaches_it(logits: torch.Tensor, flatness: float, top_k: int) -> None:
    one = sequence(top_p=0.6, top_k=top_k, temperature=1 / flatness)
    probs = torch.softmax(logits[0] * flatness, -1).sort(descending=True)
    weights = probs.values.clone()
    if top_k:
        weights[top_k:] = 0
    nucleus = weights.cumsum(0) - weights < 0.6 * weights.sum()
    allowed = set(probs.indices[nucleus].tolist())
    drawn = set(draws(logits, one))
    assert drawn <= allowed
    if flatness == 1.0:
        assert len(drawn) > 1


def test_a_row_does_not_depend_on_its_neighbours(logits: torch.Tensor) -> None:
    rows = torch.cat([logits, logits.flip(-1), logits * 0.5])
    params = [{"seed": 5}, {"seed": 6, "top_p": 0.9}, {"seed": 7, "top_k": 3}]
    together = [sequence(**each) for each in params]
    apart = [sequence(**each) for each in params]
    for at in range(20):
        assert sample(rows, together, [at] * 3) == [sample(rows[i : i + 1], [apart[i]], [at])[0] for i in range(3)]


@pytest.mark.parametrize("flatness", [1.0, 0.05])
def test_a_seed_draws_the_same_tokens_with_and_without_the_compiled_kernel(
    logits: torch.Tensor, flatness: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = [{}, {"top_p": 0.9}, {"top_k": 3}, {"min_p": 0.05}, {"top_k": 300, "top_p": 0.7, "temperature": 1.7}]
    rows = (logits * flatness).expand(len(params), -1)
    here, there = ([sequence(seed=9, **each) for each in params] for _ in range(2))
    found = [sample(rows, here, [at] * len(params)) for at in range(20)]
    monkeypatch.setattr(native, "library", lambda: None)
    assert found == [sample(rows, there, [at] * len(params)) for at in range(20)]


def test_answers_of_one_seeded_request_differ_from_each_other(logits: torch.Tensor) -> None:
    answers = []
    for index in range(2):
        one = sequence(seed=3)
        one.index = index
        one.__post_init__()
        answers.append([sample(logits, [one], [at])[0] for at in range(10)])
    assert answers[0] != answers[1]


def test_a_token_chosen_again_is_drawn_with_the_number_of_its_place(logits: torch.Tensor) -> None:
    """Whatever was chosen in between: a draft that was not accepted leaves no trace."""
    in_turn, asked_twice = sequence(seed=4), sequence(seed=4)
    expected = [sample(logits, [in_turn], [at])[0] for at in range(8)]
    assert len(set(expected)) > 1
    assert sample(logits.expand(8, -1), [asked_twice] * 8, range(8)) == expected
    for at in (3, 0, 7):
        assert sample(logits, [asked_twice], [at]) == [expected[at]]


def test_a_banned_token_is_never_drawn_and_a_boosted_one_always(logits: torch.Tensor) -> None:
    best = int(logits.argmax())
    assert best not in draws(logits, sequence(logit_bias={best: -100.0}), 500)
    assert set(draws(logits, sequence(logit_bias={17: 100.0}), 500)) == {17}


def test_stop_tokens_wait_for_min_tokens(logits: torch.Tensor) -> None:
    best = int(logits.argmax())
    early = sequence(temperature=0, min_tokens=2, stop_token_ids=(best,), output=[1])
    late = sequence(temperature=0, min_tokens=2, stop_token_ids=(best,), output=[1, 1])
    assert sample(logits, [early]) != [best]
    assert sample(logits, [late]) == [best]


def test_penalties_match_their_definitions() -> None:
    logits = torch.tensor([[2.0, -2.0, 1.9, 0.0]])
    assert sample(logits, [sequence([0], temperature=0)]) == [0]
    assert sample(logits, [sequence([0], temperature=0, repetition_penalty=2.0)]) == [2]
    assert sample(logits, [sequence([3], [0], temperature=0, presence_penalty=0.2)]) == [2]
    assert sample(logits, [sequence([0], [3], temperature=0, presence_penalty=0.2)]) == [0]  # the prompt does not count
    assert sample(logits, [sequence([3], [0, 0], temperature=0, frequency_penalty=0.06)]) == [2]
    assert sample(logits, [sequence([3], [0], temperature=0, frequency_penalty=0.06)]) == [0]


def test_the_raw_logits_are_left_alone(logits: torch.Tensor) -> None:
    before = logits.clone()
    sample(logits, [sequence(logit_bias={1: 5.0}, repetition_penalty=1.3, top_p=0.5)])
    assert torch.equal(logits, before)


def test_a_number_just_below_one_does_not_pass_the_last_possible_token(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.full((1, VOCAB), -torch.inf)
    logits[0, :3] = 0.0
    for sampling in ({}, {"top_p": 0.99}):
        one = sequence(**sampling)
        monkeypatch.setattr(one.rng, "random", lambda: 1 - 2**-53)
        assert sample(logits, [one])[0] in (0, 1, 2)


@pytest.mark.parametrize("temperature", [1e-9, 1e-300])
def test_a_tiny_temperature_is_greedy(logits: torch.Tensor, temperature: float) -> None:
    assert sample(logits, [sequence(temperature=temperature)]) == [int(logits.argmax())]


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_choose_nothing_and_spare_their_neighbours(
    logits: torch.Tensor, poison: float, temperature: float
) -> None:
    rows = torch.cat([logits, logits])
    rows[0, 5] = poison
    alone = sample(logits, [sequence(temperature=temperature)])
    pair = [sequence(temperature=temperature), sequence(temperature=temperature)]
    assert sample(rows, pair) == [None, *alone]


def test_each_row_chooses_from_its_own_vocabulary(logits: torch.Tensor) -> None:
    """The wider one's tokens are likelier than anything else, for its own row alone."""
    wide = torch.cat([logits, torch.full((1, 3), 50.0)], dim=1)
    rows = torch.cat([wide, wide])
    narrow, wider = sequence(temperature=0, logprobs=4), sequence(temperature=0, logprobs=4)
    narrow.vocab, wider.vocab = VOCAB, VOCAB + 3
    of_narrow, of_wider = choose(rows, [narrow, wider])
    assert of_narrow == choose(logits, [narrow])[0]
    assert of_narrow.token == int(logits.argmax())
    assert of_wider.token is not None
    assert of_wider.token >= VOCAB
    assert of_narrow.logprob is not None
    assert all(token < VOCAB for token, _ in of_narrow.logprob.top)


def test_tokens_that_have_no_logit_are_neither_penalized_nor_stopped_at(logits: torch.Tensor) -> None:
    """A prompt may have tokens that an adapter knows but never chooses, and end tokens come with every request."""
    one = sequence([VOCAB + 7], temperature=0, repetition_penalty=2.0, min_tokens=1, stop_token_ids=(VOCAB + 9,))
    assert sample(logits, [one]) == [int(logits.argmax())]


def test_virtual_tokens_are_not_penalized() -> None:
    """What stands for them in the sequence is the id of a token that the prompt does not have."""
    logits = torch.tensor([[2.0, 1.9, 0.0]])
    one = sequence([0, 0, 2], temperature=0, repetition_penalty=2.0)
    assert sample(logits, [one]) == [1]
    one.virtual = 2
    assert sample(logits, [one]) == [0]


def test_settings_that_were_read_once_choose_as_fresh_ones_do_at_every_step(logits: torch.Tensor) -> None:
    params = [{"temperature": 0}, {"top_p": 0.8, "logit_bias": {3: 2.0}}, {"min_p": 0.1, "logprobs": 2}]
    kept, fresh = ([sequence(seed=4, **each) for each in params] for _ in range(2))
    settings = SampleSettings.of(kept, VOCAB)
    rows = logits.expand(3, -1)
    for at in range(10):
        once, anew = settings.inputs([at] * 3), SampleSettings.of(fresh, VOCAB).inputs([at] * 3)
        assert torch.equal(sample_on_device(rows, once).coded, sample_on_device(rows, anew).coded)


def test_settings_hold_for_no_other_rows_than_those_that_they_were_read_from() -> None:
    one, other = sequence(), sequence()
    settings = SampleSettings.of([one, other], VOCAB)
    assert settings.hold_for([one, other], VOCAB)
    assert not settings.hold_for([other, one], VOCAB)
    assert not settings.hold_for([one], VOCAB)
    assert not settings.hold_for([one, other], VOCAB + 1)

"""The clock of the scheduling benchmark, the cost of its steps, and what its policies do."""

from __future__ import annotations

import json

import policy
import pytest
from scheduling.cost import Content, Cost, content_of, fit
from scheduling.policies import POLICIES
from scheduling.simulate import Arrival, simulate

SECOND_A_TOKEN = Cost(step=0.0, token=1.0, pair=0.0, choice=0.0)
CHUNKS = "running first, chunks"


def run(name: str, arrivals: list[Arrival], tokens: int, cost: Cost = SECOND_A_TOKEN):
    return simulate(arrivals, POLICIES[name](100, 8, tokens), cost)


def test_what_a_step_holds() -> None:
    assert content_of([(0, 3, False), (9, 1, True)]) == Content(tokens=4, pairs=1 + 2 + 3 + 10, choices=1)


def test_the_fit_finds_the_figures_that_made_the_times() -> None:
    cost = Cost(0.03, 0.001, 2e-7, 3e-4)
    contents = [content_of([(128, 1, True)] * rows) for rows in (1, 8, 32)]
    contents += [content_of([(0, tokens, True)]) for tokens in (64, 256, 1024)]
    found = fit([(content, cost.of(content)) for content in contents])
    assert [found.step, found.token, found.pair, found.choice] == pytest.approx([0.03, 0.001, 2e-7, 3e-4])


def test_the_fit_gives_no_negative_figure() -> None:
    timed = [(content_of([(0, tokens, True)]), 0.1 - tokens * 1e-5 + tokens**2 * 1e-6) for tokens in (8, 64, 256, 512)]
    found = fit(timed)
    assert min(found.step, found.token, found.pair, found.choice) >= 0


def test_times_on_paper() -> None:
    found = run(CHUNKS, [Arrival(0.0, range(4), 3), Arrival(1.0, range(8), 1)], tokens=5)
    # A whole by 4; then a token of A beside 4 of B, until 9; the same until 14, when both are over.
    assert found.first == [4.0, 13.0]
    assert found.gaps == [5.0, 5.0]
    assert (found.tokens, found.seconds) == (4, 14.0)


def test_an_idle_clock_jumps_to_the_next_arrival() -> None:
    found = run(CHUNKS, [Arrival(0.0, range(2), 1), Arrival(100.0, range(2), 1)], tokens=8)
    assert found.first == [2.0, 2.0]
    assert found.seconds == 102.0


def test_prompts_first_lets_nobody_decode_meanwhile() -> None:
    arrivals = [Arrival(0.0, range(4), 3), Arrival(1.0, range(12), 1)]
    chunks, prompts = (run(name, arrivals, tokens=5) for name in (CHUNKS, "prompts first"))
    assert max(chunks.gaps) == 5.0
    assert max(prompts.gaps) == 13.0
    assert chunks.tokens == prompts.tokens == 4


def test_whole_prompts_are_one_step() -> None:
    arrivals = [Arrival(0.0, range(4), 3), Arrival(1.0, range(12), 1)]
    assert max(run("running first, whole prompts", arrivals, tokens=5).gaps) == 13.0


def test_a_shared_beginning_is_computed_once_where_prefixes_are_cached() -> None:
    arrivals = [Arrival(100.0 * number, [*range(64), number], 1) for number in range(3)]
    cached, plain = run("the same, prefix cache", arrivals, 128), run(CHUNKS, arrivals, 128)
    assert (cached.cached, plain.cached) == (128, 0)
    assert cached.first == [65.0, 1.0, 1.0]


def test_the_same_arrivals_give_the_same_figures(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--cost", "0.03,0.001,0,0", "--requests", "20", "--tokens", "256"]
    results = []
    for _ in range(2):
        policy.main(arguments)
        results.append(json.loads(capsys.readouterr().out))
    assert results[0] == results[1]
    assert len(results[0]["lines"]) == 3 * len(POLICIES)
    assert all(line["tok_s"] > 0 for line in results[0]["lines"])

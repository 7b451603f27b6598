"""Requests with little time: what is not begun, what ends, and what is said of it."""

from __future__ import annotations

import gc
import time
import weakref

import msgspec
import pytest
from support.checkpoints import write_base
from support.engines import make_engine, request, step

from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.deadlines import FEW, Deadlines
from loraplex_server.engine.messages import Delta, Failed, GenerateRequest
from loraplex_server.engine.pace import Pace
from loraplex_server.engine.request import Request, sequences_of


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> EngineCore:
    return make_engine(write_base(tmp_path_factory.mktemp("base")), max_num_seqs=4)


def timed(name: str, timeout_s: float, **options: object) -> GenerateRequest:
    return msgspec.structs.replace(request(name, [1, 2, 3], **options), timeout_s=timeout_s)


def test_what_has_no_time_is_never_computed(core: EngineCore) -> None:
    core.forget_history()
    core.submit(timed("a", 0.0))
    (event,) = step(core)
    assert isinstance(event, Failed)
    assert (event.kind, event.request_id) == ("deadline", "a")
    assert core.stats().steps.tokens == []
    assert not core.has_work
    core.check_integrity()


def test_an_answer_whose_time_is_over_ends_with_what_there_is(
    core: EngineCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    core.submit(timed("a", 1000.0, max_tokens=200, n=2))
    core.submit(request("patient", [4, 5], max_tokens=20))
    told = step(core)
    while {event.index for event in told if isinstance(event, Delta) and event.request_id == "a"} != {0, 1}:
        told += step(core)
    before = core.stats().deadlines_total
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 1000.0)
    events = [event for event in step(core) if event.request_id == "a"]
    assert [(event.index, event.finish_reason, event.timed_out) for event in events] == [
        (0, "length", True),
        (1, "length", True),
    ]
    assert core.stats().deadlines_total == before + 1
    rest = []
    while core.has_work:
        rest += step(core)
    assert {event.request_id for event in rest} == {"patient"}
    core.check_integrity()


def test_time_enough_changes_nothing(core: EngineCore) -> None:
    told = []
    core.submit(timed("a", 1000.0))
    while core.has_work:
        told += step(core)
    assert told[-1].finish_reason == "length"
    assert not told[-1].timed_out


def waiting(timeout_s: float | None, prompt: int = 1000, min_tokens: int = 0) -> Request:
    message = request("a", list(range(prompt)), min_tokens=min_tokens, max_tokens=500)
    message = msgspec.structs.replace(message, timeout_s=timeout_s)
    one = Request(message, sequences_of(message, 10_000), [], arrival=100.0)
    one.bound = True
    return one


@pytest.fixture
def pace() -> Pace:
    """A millisecond a token of a prompt, ten a step."""
    pace = Pace()
    pace.observe(1000, 1000, 1.0)
    pace.observe(1, 0, 0.01)
    return pace


def look(one: Request, pace: Pace, now: float, cached: int = 0) -> list[str]:
    deadlines = Deadlines(pace, lambda sequence: len(sequence.tokens) - cached)
    deadlines.add(one)
    return [reason for _, reason in deadlines.due(now)]


@pytest.mark.parametrize(
    ("timeout_s", "now", "options", "cached", "ends"),
    [
        (2.0, 100.5, {}, 0, False),
        (2.0, 101.5, {}, 0, True),  # a second for the prompt, half a second left
        (2.0, 101.5, {}, 800, False),
        (2.0, 100.5, {"min_tokens": 100}, 0, True),
        (2.0, 101.5, {"prompt": 100}, 0, False),
        (None, 1e9, {}, 0, False),
    ],
)
def test_what_cannot_be_done_in_time_is_not_begun(
    pace: Pace, timeout_s: float | None, now: float, options: dict[str, int], cached: int, ends: bool
) -> None:
    assert bool(look(waiting(timeout_s, **options), pace, now, cached)) is ends


def test_before_the_first_step_all_looks_possible() -> None:
    assert look(waiting(1.0), Pace(), 100.9) == []
    assert "over" in look(waiting(1.0), Pace(), 101.0)[0]


def test_who_waits_is_looked_at_again_when_it_can_no_longer_be_done(pace: Pace) -> None:
    one = waiting(5.0)
    deadlines = Deadlines(pace, lambda sequence: len(sequence.tokens))
    deadlines.add(one)
    assert deadlines.due(100.0) == []
    assert deadlines.due(103.9) == []
    ((found, reason),) = deadlines.due(104.2)
    assert found is one
    assert "not begun" in reason


def test_who_began_has_until_the_end(pace: Pace) -> None:
    one = waiting(5.0)
    one.sequences[0].cached_tokens = 0
    deadlines = Deadlines(pace, lambda sequence: len(sequence.tokens))
    deadlines.add(one)
    assert deadlines.due(104.9) == []
    assert len(deadlines.due(105.0)) == 1


def test_who_ended_is_forgotten(pace: Pace) -> None:
    deadlines = Deadlines(pace, lambda sequence: len(sequence.tokens))
    ended = [waiting(5.0) for _ in range(1000)]
    for one in ended:
        deadlines.add(one)
    deadlines.due(100.0)
    seen = [weakref.ref(one) for one in ended]
    left = ended.pop()
    while ended:
        deadlines.forget(ended.pop())
    del one
    gc.collect()
    assert sum(each() is not None for each in seen) == 1
    assert len(deadlines._heap) <= FEW + 2
    assert [request for request, _ in deadlines.due(200.0)] == [left]
    deadlines.forget(left)
    assert deadlines.due(300.0) == []


def test_steps_that_only_decode_say_nothing_of_prompts(pace: Pace) -> None:
    before = pace.least(1000, 1)
    for _ in range(500):
        pace.observe(64, 0, 0.1)
        pace.observe(64, 16, 0.1)
    assert pace.least(1000, 1) == before


def test_the_pace_is_the_best_of_lately(pace: Pace) -> None:
    best = pace.least(1000, 1)
    pace.observe(1000, 1000, 4.0)
    assert pace.least(1000, 1) < 1.1 * best
    for _ in range(500):
        pace.observe(1000, 1000, 4.0)
    assert pace.least(1000, 1) == pytest.approx(4.0)

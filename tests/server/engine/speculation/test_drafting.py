"""Which sequences propose, how much, and what is left of what they proposed: the scheduler alone, without a model."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from loraplex_server.engine.block_pool import BlockPool
from loraplex_server.engine.messages import SamplingParams
from loraplex_server.engine.scheduler import Scheduled, Scheduler
from loraplex_server.engine.sequence import Sequence
from loraplex_server.engine.speculation.ngram_index import Match
from loraplex_server.engine.speculation.settings import SpeculationSettings
from loraplex_server.engine.speculation.speculation import Speculation

BLOCK = 4
CIRCLE = [1, 2, 3]
_ids = itertools.count()


def sequence(prompt: list[int] | None = None, max_tokens: int = 50, max_len: int = 1000, **sampling: Any) -> Sequence:
    tokens = CIRCLE * 3 if prompt is None else prompt
    params = SamplingParams(max_tokens=max_tokens, **sampling)
    return Sequence(str(next(_ids)), 0, len(tokens), params, max_len, list(tokens))


def scheduler(blocks: int = 100, budget: int = 64, rows: int = 64, spare: float = 8.0, **options: Any) -> Scheduler:
    settings = SpeculationSettings(tokens=5, shortest=2, longest=4, rows=rows)
    return Scheduler(
        BlockPool(blocks),
        block_size=BLOCK,
        max_num_seqs=8,
        max_num_batched_tokens=budget,
        speculation=Speculation(settings, spare),
        **options,
    )


def finish(target: Scheduler, plan: list[Scheduled], *tokens: int) -> None:
    """Every sequence of the plan gets these tokens, which are what counts of its draft and the one behind that."""
    target.advance(plan)
    for scheduled in plan:
        if scheduled.samples:
            target.settle(scheduled, len(tokens))
            for token in tokens:
                target.land(scheduled.sequence, token)
            if scheduled.sequence.finish_reason is not None:
                target.remove(scheduled.sequence)
    target.check_integrity()


def started(target: Scheduler, *sequences: Sequence) -> None:
    """Their prompts are computed, and the circle goes on with one token."""
    for one in sequences:
        target.add(one)
    finish(target, target.schedule(), 1)


def drafts(plan: list[Scheduled]) -> list[tuple[int, ...]]:
    return [scheduled.draft for scheduled in plan]


def test_a_decoding_sequence_that_repeats_itself_proposes_how_it_goes_on() -> None:
    target, one = scheduler(), sequence()
    target.add(one)
    first = target.schedule()
    assert drafts(first) == [()]  # a prompt proposes nothing: nobody knows its next token
    finish(target, first, 1)
    (entry,) = target.schedule()
    assert entry.draft == (2, 3, 1, 2, 3)
    assert (entry.start, entry.count, entry.end, entry.chosen, entry.samples) == (9, 6, 15, 6, True)


def test_what_comes_back_from_a_preemption_proposes_nothing_before_it_is_whole_again() -> None:
    target, one = scheduler(), sequence()
    started(target, one)
    finish(target, target.schedule(), 2, 3, 1)
    one.num_computed = one.prompt_len  # the rest of its own tokens is to be computed again
    target._room = lambda sequence: 1  # another tenant has all but one token of the step
    (entry,) = target.schedule()
    assert (entry.start, entry.count, entry.samples, entry.draft) == (one.prompt_len, 1, False, ())


@pytest.mark.parametrize("counted", range(1, 7))
def test_what_counts_is_kept_and_the_rest_is_computed_again(counted: int) -> None:
    target, one = scheduler(), sequence()
    started(target, one)
    plan = target.schedule()
    finish(target, plan, *(7,) * counted)
    assert one.tokens == [*CIRCLE * 3, 1, *(7,) * counted]
    assert (one.in_flight, one.num_computed) == (0, one.length - 1)
    assert target.schedule()[0].start == 9 + counted
    stats = target.drafts.stats()
    assert (stats.drafts_total, stats.tokens_total, stats.accepted_total) == (1, 5, counted - 1)
    assert stats.accepted_at_total == (*(1,) * (counted - 1), *(0,) * (6 - counted))


def test_blocks_are_named_by_tokens_that_count_alone() -> None:
    """The draft would have filled two blocks, whose names another request could look up."""
    target, one = scheduler(), sequence()
    started(target, one)
    plan = target.schedule()
    target.advance(plan)
    assert one.num_named == 2  # 10 tokens are known
    target.settle(plan[0], 3)
    for token in (2, 3, 9):
        target.land(one, token)
    assert (one.num_named, len(one.tokens)) == (3, 13)
    other = sequence([*one.tokens[:12], 5])
    target.add(other)
    target.schedule()
    assert other.cached_tokens == 12
    right = sequence([*CIRCLE * 5, 1, 2])  # the draft itself: only what was accepted of it is known
    target.add(right)
    target.schedule()
    assert right.cached_tokens == 12


def test_no_more_is_proposed_than_the_answer_may_have() -> None:
    for left, expected in ((1, ()), (2, (2,)), (4, (2, 3, 1)), (9, (2, 3, 1, 2, 3))):
        target = scheduler()
        started(target, sequence(max_tokens=1 + left))
        assert drafts(target.schedule()) == [expected]
        target = scheduler()
        started(target, sequence(max_len=10 + left))
        assert drafts(target.schedule()) == [expected]


def test_no_more_is_proposed_than_the_step_may_have() -> None:
    target = scheduler(rows=4)
    started(target, sequence(), sequence())
    assert sum(scheduled.count for scheduled in target.schedule()) == 4
    target = scheduler()
    started(target, sequence(), sequence())
    target.max_num_batched_tokens = 9
    assert sum(scheduled.count for scheduled in target.schedule()) == 9


def test_who_was_right_most_often_comes_first() -> None:
    target = scheduler(rows=7)
    one, other = sequence(), sequence()
    started(target, one, other)
    finish(target, target.schedule(), 2)
    assert one.drafter is not None
    one.drafter.learn(1, 0)
    plan = target.schedule()
    assert [len(draft) for draft in drafts(plan)] == [0, 5]


def test_the_fuller_the_step_the_surer_a_draft_must_be() -> None:
    speculation = scheduler().speculation
    assert speculation is not None
    lengths = [[speculation._worth(trust, rows) for rows in (1, 4, 16, 60)] for trust in (0.3, 0.7, 0.95)]
    for of_trust in lengths:
        assert of_trust == sorted(of_trust, reverse=True)
    assert lengths[0][0] >= 1
    assert lengths[0][2] == 0
    assert lengths[2][0] == 5
    assert [row[1] for row in lengths] == sorted(row[1] for row in lengths)


def test_what_never_comes_true_is_hardly_proposed_any_more() -> None:
    target, one = scheduler(), sequence(max_tokens=500)
    started(target, one)
    lengths = []
    for step in range(300):
        plan = target.schedule()
        lengths.append(len(plan[0].draft))
        finish(target, plan, 50 + step if step % 3 else 1)
    assert target.drafts.stats().accepted_total == 0
    assert sum(lengths[100:]) < 0.4 * len(lengths[100:])


def test_penalties_and_grammars_keep_a_sequence_from_proposing() -> None:
    for sampling in ({"presence_penalty": 0.1}, {"repetition_penalty": 1.1}, {"grammar": "{}"}):
        target = scheduler()
        one, other = sequence(**sampling), sequence()
        started(target, one, other)
        assert [bool(draft) for draft in drafts(target.schedule())] == [False, True]


def test_a_draft_takes_no_block_that_a_running_sequence_may_need() -> None:
    target = scheduler(blocks=4)
    one = sequence()  # 9 tokens and the next: three blocks
    started(target, one)
    assert drafts(target.schedule()) == [(2, 3)]  # as many as the third has room for
    assert target.seats.counts.preemptions == 0
    assert target.pool.num_free == 1


def test_virtual_tokens_are_no_text() -> None:
    proposed = []
    for virtual in (0, 4):
        target, one = scheduler(), sequence([0, 0, 0, 0, 5, 0])
        one.virtual = virtual
        target.add(one)
        finish(target, target.schedule(), 0)
        proposed += drafts(target.schedule())
    assert [bool(draft) for draft in proposed] == [True, False]


def test_a_sequence_with_a_draft_in_flight_must_be_known_first() -> None:
    target, one = scheduler(), sequence()
    started(target, one)
    plan = target.schedule()
    assert not target.must_know
    target.advance(plan)
    assert one.in_flight == 6
    assert target.speculation is not None
    target.speculation.spare_rows = 0.0  # nothing is worth proposing any more, but this was
    assert target.must_know


def test_a_sequence_that_is_not_worth_asking_is_not_waited_for() -> None:
    target, one = scheduler(), sequence()
    started(target, one)
    plan = [Scheduled.of(one, 1)]
    target.advance(plan)
    assert target.must_know  # it may propose
    target.land(one, 5)
    target.schedule()
    assert one.drafter is not None
    for length in (2, 3, 4):
        one.drafter.draft(one.tokens, Match(length, 1), 1)
        for _ in range(50):
            one.drafter.learn(1, 0)
    target.advance([Scheduled.of(one, 1)])
    assert not target.must_know

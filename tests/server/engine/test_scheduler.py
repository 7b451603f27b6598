"""The scheduler by itself: no model, no torch, tokens are just counted."""

from __future__ import annotations

import itertools

import pytest

from loraplex_server.engine.block_pool import BlockPool
from loraplex_server.engine.messages import SamplingParams, Share
from loraplex_server.engine.prefix import BASE, Lineage, Part
from loraplex_server.engine.scheduler import Scheduled, Scheduler
from loraplex_server.engine.sequence import Sequence

BLOCK = 4
_ids = itertools.count()


def sequence(prompt: int | list[int], max_tokens: int = 8, **changes: object) -> Sequence:
    start = next(_ids) * 1000
    tokens = list(range(start, start + prompt)) if isinstance(prompt, int) else list(prompt)
    fields = {
        "request_id": f"r{start}",
        "index": 0,
        "prompt_len": len(tokens),
        "sampling": SamplingParams(max_tokens=max_tokens),
        "max_len": 10_000,
        "tokens": tokens,
    }
    return Sequence(**(fields | changes))


def scheduler(blocks: int = 100, seqs: int = 8, tokens: int = 64, **options: object) -> Scheduler:
    pool = BlockPool(blocks, caching=bool(options.pop("caching", True)))
    return Scheduler(pool, block_size=BLOCK, max_num_seqs=seqs, max_num_batched_tokens=tokens, **options)


def step(target: Scheduler) -> list[tuple[Sequence, int]]:
    """One step as the engine does it, with a sampled token that is always 7."""
    plan = target.schedule()
    finish(target, plan)
    return [(scheduled.sequence, scheduled.count) for scheduled in plan]


def finish(target: Scheduler, plan: list[Scheduled]) -> None:
    sampled = [scheduled.sequence for scheduled in plan if scheduled.samples]
    target.advance(plan)
    for one in sampled:
        target.land(one, 7)
        if one.finish_reason is not None:
            target.remove(one)
    target.check_integrity()


def run_dry(target: Scheduler, limit: int = 1000) -> int:
    for steps in range(limit):
        if not target.running and not target.waiting:
            return steps
        assert step(target), "the scheduler is stuck"
    raise AssertionError("the scheduler never finished")


def test_a_long_prompt_is_computed_in_chunks_of_the_budget() -> None:
    target = scheduler(tokens=10)
    one = sequence(25)
    target.add(one)
    assert [step(target)[0][1] for _ in range(4)] == [10, 10, 5, 1]


def test_running_sequences_come_before_new_prompts() -> None:
    target = scheduler(tokens=8)
    first, second = sequence(4), sequence(30)
    target.add(first)
    step(target)
    target.add(second)
    assert step(target) == [(first, 1), (second, 7)]


def test_no_more_sequences_run_than_allowed() -> None:
    target = scheduler(seqs=2)
    for _ in range(5):
        target.add(sequence(3))
    assert len(step(target)) == 2
    assert len(target.waiting) == 3


def test_a_sequence_whose_adapter_is_loading_is_passed_over_and_keeps_its_place() -> None:
    target = scheduler(seqs=2)
    loading, other, third = sequence(3), sequence(3), sequence(3)
    for one in (loading, other, third):
        target.add(one, held=True)
    target.release(other)
    assert [one for one, _ in step(target)] == [other]
    assert list(target.waiting) == [loading, third]
    target.release(third)
    target.release(loading)
    assert [one for one, _ in step(target)] == [other, loading]


def test_a_large_prompt_is_not_starved_by_small_ones_behind_it() -> None:
    target = scheduler(blocks=10)
    running, large, small = sequence(20, max_tokens=4), sequence(30), sequence(2)
    target.add(running)
    step(target)
    target.add(large)
    target.add(small)
    assert [one for one, _ in step(target)] == [running]  # 30 tokens need 8 blocks; 5 of 10 are taken
    while running in target.running:
        step(target)
    assert large in [one for one, _ in step(target)]


def test_the_youngest_is_preempted_when_blocks_run_out_and_all_finish_in_the_end() -> None:
    target = scheduler(blocks=6, caching=False)
    old, young = sequence(8, max_tokens=12), sequence(8, max_tokens=12)
    target.add(old)
    target.add(young)
    step(target)
    while not target.seats.counts.preemptions:
        step(target)
    assert young.preemptions == 1
    assert old.preemptions == 0
    assert young.block_table == []
    assert target.waiting.head() is young
    run_dry(target)
    assert (old.num_output, young.num_output) == (12, 12)


def test_a_preempted_sequence_computes_its_generated_tokens_again() -> None:
    target = scheduler(blocks=6, caching=False)
    old, young = sequence(8, max_tokens=10), sequence(8, max_tokens=12)
    target.add(old)
    target.add(young)
    while not target.seats.counts.preemptions:
        step(target)
    generated = young.num_output
    assert generated > 0
    plan: dict[Sequence, int] = {}
    while young not in plan:
        plan = dict(step(target))
    assert plan[young] == 8 + generated


def test_an_equal_prefix_is_computed_once() -> None:
    target = scheduler()
    prompt = list(range(10))
    first = sequence(prompt, max_tokens=1)
    target.add(first)
    run_dry(target)
    second = sequence(prompt, max_tokens=1)
    target.add(second)
    assert step(target) == [(second, 2)]
    assert second.cached_tokens == 8
    assert (target.seats.counts.prefix_queries, target.seats.counts.prefix_hits) == (20, 8)


def test_a_prefix_that_is_wholly_cached_still_computes_its_last_token() -> None:
    target = scheduler()
    prompt = list(range(8))
    for expected in (8, 4):
        one = sequence(prompt, max_tokens=1)
        target.add(one)
        assert step(target) == [(one, expected)]


def test_an_equal_prefix_of_another_generation_is_not_shared() -> None:
    target = scheduler()
    prompt = list(range(10))
    for lineage in (BASE, Lineage([Part("1", 1.0)]), Lineage([Part("2", 1.0)])):
        one = sequence(prompt, max_tokens=1, lineage=lineage)
        target.add(one)
        assert step(target) == [(one, 10)]


def test_generated_tokens_are_part_of_the_cached_prefix() -> None:
    target = scheduler()
    first = sequence(list(range(6)), max_tokens=7)
    target.add(first)
    run_dry(target)
    second = sequence([*first.tokens, 99])
    target.add(second)
    # 13 tokens made 3 full blocks; of the 14 now, those after the 12th are computed.
    assert step(target) == [(second, 2)]


def test_prompt_logprobs_need_the_whole_prompt_computed() -> None:
    target = scheduler()
    prompt = list(range(10))
    target.add(sequence(prompt, max_tokens=1))
    run_dry(target)
    one = sequence(prompt, sampling=SamplingParams(max_tokens=1, prompt_logprobs=0))
    target.add(one)
    assert step(target) == [(one, 10)]


def test_further_answers_wait_for_the_first_and_share_its_prompt() -> None:
    target = scheduler(tokens=8)
    prompt = list(range(12))
    leader = sequence(prompt)
    follower = sequence(prompt, index=1, leader=leader)
    target.add(leader)
    target.add(follower)
    assert step(target) == [(leader, 8)]
    assert step(target) == [(leader, 4)]
    assert step(target) == [(leader, 1), (follower, 4)]


def test_a_follower_of_an_aborted_leader_runs_by_itself() -> None:
    target = scheduler(tokens=8)
    leader = sequence(12)
    follower = sequence(leader.tokens, index=1, leader=leader)
    target.add(leader)
    target.add(follower)
    step(target)
    leader.finish_reason = "abort"
    target.remove(leader)
    assert follower in [one for one, _ in step(target)]


def test_removing_twice_or_while_waiting_leaves_nothing_behind() -> None:
    target = scheduler()
    running, waiting = sequence(9), sequence(9)
    target.add(running)
    step(target)
    target.add(waiting)
    for one in (running, waiting, running, waiting):
        target.remove(one)
    target.check_integrity()
    assert target.pool.num_used == 0


@pytest.mark.parametrize("seed", range(20))
def test_any_load_finishes_and_leaks_nothing(seed: int) -> None:
    import random

    rng = random.Random(seed)
    target = scheduler(blocks=rng.randint(16, 40), seqs=rng.randint(1, 6), tokens=rng.randint(6, 40))
    pending = [
        sequence(
            [rng.randint(0, 3) for _ in range(rng.randint(1, 30))],
            max_tokens=rng.randint(1, 20),
            share=Share(rng.choice(["", "a", "b"]), rng.choice([1.0, 3.0]), rng.choice([0, 0, 0, -1])),
            group=rng.choice("xy"),
        )
        for _ in range(30)
    ]
    everything = list(pending)
    while pending or target.running or target.waiting:
        for _ in range(rng.randint(0, 3)):
            if pending:
                target.add(pending.pop())
        if rng.random() < 0.05 and (target.running or target.waiting):
            victim = rng.choice([*target.running, *target.waiting])  # those that paused among them
            victim.finish_reason = "abort"
            target.remove(victim)
        if target.running or target.waiting:
            assert step(target)
    assert target.pool.num_used == 0
    assert all(one.finish_reason is not None for one in everything)


def test_the_held_are_told_apart_from_those_who_wait_for_room() -> None:
    target = scheduler(seqs=1)
    first, second, third = sequence(4, max_tokens=2), sequence(4, max_tokens=2), sequence(4, max_tokens=2)
    target.add(first)
    target.add(second)
    target.add(third, held=True)
    assert (len(target.waiting), target.waiting.num_held) == (3, 1)
    step(target)  # the first takes the only seat
    assert (len(target.waiting), target.waiting.num_held) == (2, 1)
    target.release(third)
    assert (len(target.waiting), target.waiting.num_held) == (2, 0)
    fourth = sequence(4)
    target.add(fourth, held=True)
    target.remove(fourth)
    assert target.waiting.num_held == 0
    run_dry(target)


def test_whoever_waits_for_anothers_prompt_is_held() -> None:
    target = scheduler(tokens=4)
    leader = sequence(8, max_tokens=2)
    follower = sequence(8, max_tokens=2, index=1)
    follower.leader = leader
    target.add(leader)
    target.add(follower)
    step(target)
    assert target.waiting.num_held == 1
    step(target)  # the prompt's second half
    assert target.waiting.num_held == 0
    run_dry(target)

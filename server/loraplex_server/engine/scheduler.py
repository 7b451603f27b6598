"""Which tokens of which sequences the next step computes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import msgspec

from loraplex_server.engine.block_pool import BlockPool
from loraplex_server.engine.contention import Contention
from loraplex_server.engine.fairness import OUTPUT_COST, PROMPT_COST, VirtualCounters
from loraplex_server.engine.seats import Seats
from loraplex_server.engine.sequence import Sequence
from loraplex_server.engine.speculation.counts import DraftCounts
from loraplex_server.engine.speculation.speculation import Speculation
from loraplex_server.engine.waiting import WaitingQueue

# Of prompts, that may be saved by idling: who sends a few requests now and then has all of them served at once.
CREDIT_STEPS = 2


class Scheduled(msgspec.Struct, frozen=True):
    """One sequence's share of a step: its next `count` tokens. It stays as it is while the sequence goes on."""

    sequence: Sequence
    start: int  # position of the first
    count: int
    samples: bool  # the step reaches the sequence's last token, so that the next one is chosen
    draft: tuple[int, ...] = ()  # the last of the `count` tokens are these, which the sequence may come to have

    @classmethod
    def of(cls, sequence: Sequence, count: int) -> Scheduled:
        """From where the sequence is now."""
        start = sequence.num_computed
        return cls(sequence, start, count, start + count == sequence.length)

    def with_draft(self, draft: tuple[int, ...]) -> Scheduled:
        """The same and the draft behind it, to be checked by the way."""
        return msgspec.structs.replace(self, count=self.count + len(draft), draft=draft)

    @property
    def chosen(self) -> int:
        """Tokens that the step chooses: one after the sequence's last, and one after each of the draft."""
        return 1 + len(self.draft) if self.samples else 0

    @property
    def end(self) -> int:
        """Position after the last."""
        return self.start + self.count


class Scheduler:
    """Continuous batching with chunked prefill over a paged KV cache, in fair shares.

    Args:
        pool: blocks of the KV cache.
        block_size: tokens a block.
        max_num_seqs: sequences in one step.
        max_num_batched_tokens: tokens in one step; a longer prompt is computed in chunks.
        speculation: lets sequences propose tokens; None: they never do.
        clock: seconds.
    """

    def __init__(
        self,
        pool: BlockPool,
        *,
        block_size: int,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        speculation: Speculation | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pool = pool
        self.block_size = block_size
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = max_num_batched_tokens
        self.speculation = speculation
        self.drafts = DraftCounts()
        self.waiting = WaitingQueue(VirtualCounters(), CREDIT_STEPS * max_num_batched_tokens * PROMPT_COST)
        self.seats = Seats(pool, block_size, max_num_seqs, self.waiting, self._drop)
        self._contention = Contention(max_num_batched_tokens, clock)
        self._followers: dict[Sequence, list[Sequence]] = {}  # by their leader, whose prompt they wait for
        self._plan: list[Scheduled] = []  # in the making

    @property
    def running(self) -> list[Sequence]:
        """Sequences that have seats, in the order in which they are served."""
        return self.seats.running

    def add(self, sequence: Sequence, *, held: bool = False) -> None:
        """Queue a sequence.

        Args:
            sequence: new here.
            held: it has its place, but cannot run before `release`, and is in nobody's way until then.
        """
        self.waiting.hold(sequence)
        self._contention.came(sequence)
        if not held:
            self.release(sequence)

    def release(self, sequence: Sequence) -> None:
        """What it was held for is there (its adapter was loaded); further answers wait for the first one's prompt."""
        leader = sequence.leader
        if leader is None or leader.prompt_computed or leader.finish_reason is not None:
            self.waiting.put(sequence)
        else:
            self._followers.setdefault(leader, []).append(sequence)

    @property
    def must_know(self) -> bool:
        """Whether a running sequence cannot go on, or should not, before its token in flight is known."""
        return any(sequence.in_flight and self._must_know(sequence) for sequence in self.running)

    def _must_know(self, sequence: Sequence) -> bool:
        if sequence.reads_output or sequence.in_flight > 1:  # drafts, of which some may not count
            return True
        return self.speculation is not None and self.speculation.waits_for(sequence, len(self.running))

    def schedule(self) -> list[Scheduled]:
        """The next step: a token of each answer that was begun, then prompts, as far as the budget goes."""
        self._plan = []
        self._contention.begin_step()
        preempted_before = self.seats.counts.preemptions
        self._decode()
        self._prefill(preempted_before)
        if self.speculation is not None and self._plan:
            left = self.max_num_batched_tokens - sum(scheduled.count for scheduled in self._plan)
            self.speculation.extend(self._plan, left, self.seats.reserve_behind)
        return self._plan

    def _decode(self) -> None:
        for sequence in tuple(self.running):
            if len(self._plan) >= self.max_num_batched_tokens:
                return
            if sequence.num_pending == 1 and sequence not in self.waiting and self.seats.reserve(sequence, 1):
                self._take(sequence, 1)

    def _prefill(self, preempted_before: int) -> None:
        """Prompts that were begun go on, and the first in line may begin; whoever was served less comes first."""
        budget = self.max_num_batched_tokens - len(self._plan)
        begun = deque(sequence for sequence in self.running if sequence.num_pending > 1)
        admitted, admitting = set[Sequence](), True
        while budget > 0:
            # Admitting in a step that had to preempt would only thrash.
            admitting = admitting and self.seats.counts.preemptions == preempted_before
            head = self.waiting.head() if admitting else None
            if head is not None and (not begun or _is_before(head, begun[0])):
                if not (self._room(head) and self.seats.seat(head, begun[0] if begun else None)):
                    admitting = False  # a smaller one behind it would starve it
                    continue
                sequence = head
                admitted.add(head)
            elif begun:
                sequence = begun.popleft()
                if sequence in self.waiting or sequence in admitted:
                    continue  # it gave way
            else:
                return
            count = min(sequence.num_pending, budget, self._room(sequence))
            if count and self.seats.reserve(sequence, count):
                self._take(sequence, count)
                budget -= count

    def _room(self, sequence: Sequence) -> int:
        """Tokens that it may have computed in this step, as far as other tenants are concerned."""
        if sequence.num_pending <= 1:
            return self.max_num_batched_tokens
        return self._contention.room(sequence.share.tenant)

    def _take(self, sequence: Sequence, count: int) -> None:
        scheduled = Scheduled.of(sequence, count)
        self._plan.append(scheduled)
        if count > 1:
            self._contention.take(sequence.share.tenant, count)
        # What is computed again after a preemption, or came from the cache, costs nothing.
        if sequence.num_charged < sequence.prompt_len:
            end = min(scheduled.end, sequence.prompt_len)
            sequence.payers.charge(PROMPT_COST * max(end - sequence.num_charged, 0))
            sequence.num_charged = max(end, sequence.num_charged)

    def _drop(self, sequence: Sequence) -> None:
        """It gave way after it had its part of the step."""
        self._plan[:] = [scheduled for scheduled in self._plan if scheduled.sequence is not sequence]

    def advance(self, plan: list[Scheduled]) -> None:
        """The step was launched: for every later one the tokens of the plan are in the cache."""
        for scheduled in plan:
            sequence = scheduled.sequence
            sequence.num_computed = scheduled.end
            sequence.in_flight += scheduled.chosen
            self._name_blocks(sequence, len(sequence.tokens))
            if sequence in self._followers and sequence.prompt_computed:
                self._release_followers(sequence)

    def _release_followers(self, leader: Sequence) -> None:
        for follower in self._followers.pop(leader, ()):
            if follower in self.waiting:
                self.waiting.put(follower)

    def settle(self, scheduled: Scheduled, counted: int) -> None:
        """Of the tokens that a step chose for a sequence only the first so many count; they land next.

        What was computed of the draft beyond them is no part of the sequence: it is written over.
        """
        if not scheduled.draft:
            return
        rejected = scheduled.chosen - counted
        scheduled.sequence.in_flight -= rejected
        scheduled.sequence.num_computed -= rejected
        self.drafts.add(len(scheduled.draft), counted - 1)
        if scheduled.sequence.drafter is not None:
            scheduled.sequence.drafter.learn(len(scheduled.draft), counted - 1)

    def land(self, sequence: Sequence, token: int | None) -> None:
        """A token that was in flight is known, and may be what a block's name lacked; see `Sequence.land`."""
        sequence.land(token)
        if token is not None:
            sequence.payers.charge(OUTPUT_COST)
        # Of its last token nothing is needed, so the keys and values that a step behind this one wrote do not count.
        self._name_blocks(sequence, len(sequence.tokens) - 1)

    def _name_blocks(self, sequence: Sequence, known: int) -> None:
        """Tell the prefix cache of blocks whose tokens are all computed and known."""
        full = min(sequence.num_computed, known) // self.block_size
        if not self.pool.caching or full <= sequence.num_named:
            return
        hashes = sequence.hashes(self.block_size)
        for block in range(sequence.num_named, full):
            self.pool.register(sequence.block_table[block], hashes[block])
        sequence.num_named = full

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence, wherever it is, and give its blocks back. Removing it twice does nothing."""
        if sequence in self.waiting or sequence in self.running:
            self.seats.leave(sequence)
            self.waiting.forget(sequence)
            self._release_followers(sequence)

    def check_integrity(self) -> None:
        """Raise RuntimeError unless every block is held by exactly the sequences that list it."""
        self.seats.check_integrity()


def _is_before(head: Sequence, begun: Sequence) -> bool:
    """Whether one who waits is served before one whose prompt was begun."""
    if head.share.priority != begun.share.priority:
        return head.share.priority < begun.share.priority
    ours, theirs = head.payers.tenant, begun.payers.tenant
    return ours is not theirs and ours.turn < theirs.turn

"""Which tokens of which sequences the next step computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from loraplex_server.engine.block_pool import BlockPool
from loraplex_server.engine.sequence import Sequence
from loraplex_server.engine.speculation.counts import DraftCounts
from loraplex_server.engine.speculation.speculation import Speculation


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
    """Continuous batching with chunked prefill over a paged KV cache.

    Args:
        pool: blocks of the KV cache.
        block_size: tokens a block.
        max_num_seqs: sequences in one step.
        max_num_batched_tokens: tokens in one step; a longer prompt is computed in chunks.
        is_ready: whether a waiting sequence could run now. One that could not (its adapter is still loading) is
            passed over: it is never the head that blocks the others.
        speculation: lets sequences propose tokens; None: they never do.
    """

    def __init__(
        self,
        pool: BlockPool,
        *,
        block_size: int,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        is_ready: Callable[[Sequence], bool] = lambda _: True,
        speculation: Speculation | None = None,
    ) -> None:
        self.pool = pool
        self.block_size = block_size
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = max_num_batched_tokens
        self._is_ready = is_ready
        self.speculation = speculation
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []  # in order of admission
        self.num_preemptions = 0
        self.drafts = DraftCounts()
        self.prefix_queries = 0  # tokens looked up
        self.prefix_hits = 0  # tokens found

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence, last."""
        self.waiting.append(sequence)

    @property
    def must_know(self) -> bool:
        """Whether a running sequence cannot go on, or should not, before its token in flight is known."""
        return any(sequence.in_flight and self._must_know(sequence) for sequence in self.running)

    def _must_know(self, sequence: Sequence) -> bool:
        if sequence.reads_output or sequence.in_flight > 1:  # drafts, of which some may not count
            return True
        return self.speculation is not None and self.speculation.waits_for(sequence, len(self.running))

    def schedule(self) -> list[Scheduled]:
        """The next step. Running sequences come first: a new prompt uses what they leave of the budget."""
        plan: list[Scheduled] = []
        preempted_before = self.num_preemptions
        budget = self._continue_running(plan, self.max_num_batched_tokens)
        if self.num_preemptions == preempted_before:  # admitting in a step that had to preempt would only thrash
            self._admit_waiting(plan, budget)
        if self.speculation is not None and plan:
            left = self.max_num_batched_tokens - sum(scheduled.count for scheduled in plan)
            self.speculation.extend(plan, left, self._reserve_behind)
        return plan

    def _continue_running(self, plan: list[Scheduled], budget: int) -> int:
        position = 0
        while position < len(self.running) and budget > 0:
            sequence = self.running[position]
            position += 1
            count = min(sequence.num_pending, budget)
            if count == 0:
                continue  # its last token is on its way
            if not self._reserve(sequence, count):
                break  # the sequence itself was the youngest, and is preempted
            plan.append(Scheduled.of(sequence, count))
            budget -= count
        return budget

    def _reserve(self, sequence: Sequence, count: int) -> bool:
        """Blocks for the next `count` tokens, taken from the youngest sequences if need be."""
        missing = self._blocks_for(sequence.num_computed + count) - len(sequence.block_table)
        while missing > self.pool.num_free:
            victim = self.running[-1]
            self._preempt(victim)
            if victim is sequence:
                return False
        if missing > 0:
            sequence.block_table += self.pool.allocate(missing)
        return True

    def _reserve_behind(self, sequence: Sequence, count: int) -> int:
        """Room for so many tokens at most behind all that the sequence has.

        Each running sequence is left a block, so that none is preempted for what may not be accepted.
        """
        spare = max(self.pool.num_free - len(self.running), 0)
        count = min(count, (len(sequence.block_table) + spare) * self.block_size - sequence.length)
        missing = self._blocks_for(sequence.length + count) - len(sequence.block_table)
        if missing > 0:
            sequence.block_table += self.pool.allocate(missing)
        return count

    def _preempt(self, sequence: Sequence) -> None:
        """Give up a sequence's blocks; it is computed again from its tokens, those it generated among them."""
        self.running.remove(sequence)
        self.pool.release(sequence.block_table)
        sequence.block_table = []
        sequence.num_computed = sequence.num_named = 0
        sequence.preemptions += 1
        self.num_preemptions += 1
        self.waiting.appendleft(sequence)

    def _admit_waiting(self, plan: list[Scheduled], budget: int) -> None:
        passed_over: list[Sequence] = []
        while self.waiting and budget > 0 and len(self.running) < self.max_num_seqs:
            sequence = self.waiting.popleft()
            if not self._may_start(sequence):
                passed_over.append(sequence)
                continue
            if not self._admit(sequence):
                self.waiting.appendleft(sequence)
                break  # first come, first served: a smaller one behind it would starve it
            count = min(sequence.num_pending, budget)
            self._reserve(sequence, count)
            self.running.append(sequence)
            plan.append(Scheduled.of(sequence, count))
            budget -= count
        self.waiting.extendleft(reversed(passed_over))

    def _may_start(self, sequence: Sequence) -> bool:
        leader = sequence.leader
        leads = leader is None or leader.prompt_computed or leader.finish_reason is not None
        return leads and self._is_ready(sequence)

    def _admit(self, sequence: Sequence) -> bool:
        """Share the cached prefix, if there is room for all the rest of the tokens."""
        cached = self._cached_blocks(sequence)
        missing = self._blocks_for(len(sequence.tokens)) - len(cached)
        if missing + self.pool.free_among(cached) > self.pool.num_free:
            return False
        self.pool.share(cached)
        sequence.block_table = cached
        sequence.num_named = len(cached)
        sequence.num_computed = len(cached) * self.block_size
        if sequence.cached_tokens is None:
            # Virtual tokens are no part of anybody's prompt.
            sequence.cached_tokens = max(sequence.num_computed - sequence.virtual, 0)
            self.prefix_queries += len(sequence.tokens) - sequence.virtual
            self.prefix_hits += sequence.cached_tokens
        return True

    def _cached_blocks(self, sequence: Sequence) -> list[int]:
        if not self.pool.caching or sequence.wants_prompt_logprobs:
            return []
        # The last token is computed in any case: its logits choose the next one.
        usable = (len(sequence.tokens) - 1) // self.block_size
        return self.pool.lookup(sequence.hashes(self.block_size)[:usable])

    def _blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def advance(self, plan: list[Scheduled]) -> None:
        """The step was launched: for every later one the tokens of the plan are in the cache."""
        for scheduled in plan:
            sequence = scheduled.sequence
            sequence.num_computed = scheduled.end
            sequence.in_flight += scheduled.chosen
            self._name_blocks(sequence, len(sequence.tokens))

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
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        self.pool.release(sequence.block_table)
        sequence.block_table = []

    def check_integrity(self) -> None:
        """Raise RuntimeError unless every block is held by exactly the sequences that list it."""
        self.pool.check_integrity([block for sequence in self.running for block in sequence.block_table])

"""Who runs, and on which blocks; who gives way when seats or blocks are short."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from loraplex_server.engine.block_pool import BlockPool
from loraplex_server.engine.holdings import Holdings
from loraplex_server.engine.sequence import Sequence
from loraplex_server.engine.waiting import WaitingQueue

# A tenant is preempted for another's prompt where it holds so many times as much as the other will, for its weight.
# What is preempted is computed again: of two with prompts of one length each would take the other's blocks for ever.
MARGIN = 2.0


@dataclass
class SeatCounts:
    """What happened."""

    preemptions: int = 0
    pauses: int = 0
    prefix_queries: int = 0  # tokens looked up
    prefix_hits: int = 0  # tokens found


class Seats:
    """Sequences that run, those that paused, and the blocks of both.

    Who gives a seat up pauses: it keeps its blocks while nobody needs them, and goes on where it was once there is a
    seat. Who gives its blocks up is preempted: it is computed again from its tokens, those it generated among them.
    Both are first in their tenant's line.

    Args:
        pool: blocks of the KV cache.
        block_size: tokens a block.
        most: sequences that run at once.
        waiting: where they come from, and go back to.
        gave_way: told of each sequence that gave way.
    """

    def __init__(
        self,
        pool: BlockPool,
        block_size: int,
        most: int,
        waiting: WaitingQueue,
        gave_way: Callable[[Sequence], None],
    ) -> None:
        self.pool = pool
        self.block_size = block_size
        self.most = most
        self.waiting = waiting
        self._gave_way = gave_way
        self.running: list[Sequence] = []  # in the order in which they are served
        self._paused: dict[Sequence, None] = {}
        self.counts = SeatCounts()

    def seat(self, head: Sequence, before: Sequence | None) -> bool:
        """Let one who waits run, if there is a seat and room for all of its tokens, or others must give way.

        Args:
            head: who waits.
            before: whom it is served before; None: it is the last.
        """
        yields = self._who_yields_seat(head)
        if yields is None:
            return False
        if not self._find_blocks(head):
            return False
        for victim in yields[: max(len(self.running) + 1 - self.most, 0)]:
            if victim in self.running:
                self._pause(victim)
        self.waiting.take(head)
        self._paused.pop(head, None)
        place = len(self.running) if before is None or before not in self.running else self.running.index(before)
        self.running.insert(place, head)
        head.payers.sit()
        return True

    def reserve(self, sequence: Sequence, count: int) -> bool:
        """Blocks for the next `count` tokens, for which others give way if need be; False where it did itself."""
        missing = self.blocks_for(sequence.num_computed + count) - len(sequence.block_table)
        while missing > self.pool.num_free:
            victim = self._heaviest_paused() or Holdings(self.running, _blocks).heaviest()
            self._preempt(victim)
            if victim is sequence:
                return False
        if missing > 0:
            sequence.block_table += self.pool.allocate(missing)
        return True

    def reserve_behind(self, sequence: Sequence, count: int) -> int:
        """Room for so many tokens at most behind all that the sequence has.

        Each running sequence is left a block, so that none is preempted for what may not be accepted.
        """
        spare = max(self.pool.num_free - len(self.running), 0)
        count = min(count, (len(sequence.block_table) + spare) * self.block_size - sequence.length)
        missing = self.blocks_for(sequence.length + count) - len(sequence.block_table)
        if missing > 0:
            sequence.block_table += self.pool.allocate(missing)
        return count

    def leave(self, sequence: Sequence) -> None:
        """It ended: whatever it holds is free."""
        if sequence in self._paused:
            del self._paused[sequence]
        elif sequence not in self.waiting and sequence in self.running:
            self._rise(sequence)
        self.pool.release(sequence.block_table)
        sequence.block_table = []

    def blocks_for(self, num_tokens: int) -> int:
        """That hold so many tokens."""
        return -(-num_tokens // self.block_size)

    def cached_blocks(self, sequence: Sequence) -> list[int]:
        """Those that hold its first tokens already."""
        if not self.pool.caching or sequence.computes_whole_prompt:
            return []
        # The last token is computed in any case: its logits choose the next one.
        usable = (len(sequence.tokens) - 1) // self.block_size
        return self.pool.lookup(sequence.hashes(self.block_size)[:usable])

    def missing_tokens(self, sequence: Sequence) -> int:
        """Of its tokens, those that are in no block."""
        return len(sequence.tokens) - len(self.cached_blocks(sequence)) * self.block_size

    def check_integrity(self) -> None:
        """Raise RuntimeError unless every block is held by exactly the sequences that list it."""
        holders = chain(self.running, self._paused)
        self.pool.check_integrity([block for sequence in holders for block in sequence.block_table])

    def _who_yields_seat(self, head: Sequence) -> list[Sequence] | None:
        """Nobody need where one is free; None where all are taken and nobody must."""
        if len(self.running) < self.most:
            return []
        tenant, priority = head.payers.tenant, head.share.priority
        if all(each.payers.tenant is tenant and each.share.priority <= priority for each in self.running):
            return None  # the usual case, seen fast
        return Holdings(self.running, lambda _: 1).victims(head, 1, 1) or None

    def _find_blocks(self, head: Sequence) -> bool:
        """Room for all of its tokens, which share the cached prefix."""
        while self._missing(head) > self.pool.num_free and (paused := self._heaviest_paused(but=head)) is not None:
            self._preempt(paused)
        short = self._missing(head) - self.pool.num_free
        if short > 0:
            for victim in Holdings(self.running, _blocks).victims(head, short, self.blocks_for(head.length), MARGIN):
                self._preempt(victim)
            if self._missing(head) > self.pool.num_free:
                return False  # a smaller one behind it would starve it
        if not head.block_table:  # else it paused
            self._share_prefix(head)
        return True

    def _missing(self, head: Sequence) -> int:
        """Free blocks that its tokens need beyond those that it has, or that hold its first tokens already."""
        missing = self.blocks_for(head.length) - len(head.block_table)
        if head.block_table:
            return missing
        cached = self.cached_blocks(head)
        return missing - len(cached) + self.pool.free_among(cached)

    def _share_prefix(self, head: Sequence) -> None:
        cached = self.cached_blocks(head)
        self.pool.share(cached)
        head.block_table = cached
        head.num_named = len(cached)
        head.num_computed = len(cached) * self.block_size
        if head.cached_tokens is None:
            head.num_charged = head.num_computed
            # Virtual tokens are no part of anybody's prompt.
            head.cached_tokens = max(head.num_computed - head.virtual, 0)
            self.counts.prefix_queries += len(head.tokens) - head.virtual
            self.counts.prefix_hits += head.cached_tokens

    def _heaviest_paused(self, but: Sequence | None = None) -> Sequence | None:
        """Who paused keeps its blocks only while nobody needs them: else, with no one running, nobody could begin."""
        paused = [sequence for sequence in self._paused if sequence is not but]
        return Holdings(paused, _blocks).heaviest() if paused else None

    def _preempt(self, sequence: Sequence) -> None:
        if sequence in self._paused:
            del self._paused[sequence]
        else:
            self._rise(sequence)
            self.waiting.put(sequence)
            self._gave_way(sequence)
        self.pool.release(sequence.block_table)
        sequence.block_table = []
        sequence.num_computed = sequence.num_named = 0
        sequence.preemptions += 1
        self.counts.preemptions += 1

    def _pause(self, sequence: Sequence) -> None:
        self._rise(sequence)
        self._paused[sequence] = None
        self.waiting.put(sequence)
        self._gave_way(sequence)
        self.counts.pauses += 1

    def _rise(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        sequence.payers.rise()


def _blocks(sequence: Sequence) -> int:
    return len(sequence.block_table)

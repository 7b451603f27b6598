"""Blocks are handed out once, given back once, and remember what they held until they are needed."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from loraplex_server.engine.block_pool import BlockPool


def test_allocated_blocks_are_distinct_and_counted() -> None:
    pool = BlockPool(4)
    first, second = pool.allocate(3), pool.allocate(1)
    assert len({*first, *second}) == 4
    assert pool.num_free == 0
    assert pool.num_used == 4
    with pytest.raises(RuntimeError, match="1 blocks asked for, 0 free"):
        pool.allocate(1)


def test_a_released_block_keeps_its_content_until_it_is_taken_again() -> None:
    pool = BlockPool(2)
    (block,) = pool.allocate(1)
    pool.register(block, b"a")
    pool.release([block])
    assert pool.lookup([b"a"]) == [block]
    pool.allocate(2)
    assert pool.lookup([b"a"]) == []


def test_a_lookup_ends_at_the_first_unknown_block() -> None:
    pool = BlockPool(3)
    blocks = pool.allocate(3)
    pool.register(blocks[0], b"a")
    pool.register(blocks[2], b"c")
    assert pool.lookup([b"a", b"b", b"c"]) == blocks[:1]


def test_a_shared_block_is_free_only_after_its_last_holder() -> None:
    pool = BlockPool(1)
    blocks = pool.allocate(1)
    pool.register(blocks[0], b"a")
    pool.share(blocks)
    pool.release(blocks)
    assert pool.num_free == 0
    pool.release(blocks)
    assert pool.num_free == 1


def test_the_tail_of_a_prefix_is_forgotten_before_its_head() -> None:
    pool = BlockPool(3)
    blocks = pool.allocate(3)
    for block, name in zip(blocks, (b"a", b"b", b"c"), strict=True):
        pool.register(block, name)
    pool.release(blocks)
    pool.allocate(1)
    assert pool.lookup([b"a", b"b", b"c"]) == blocks[:2]


def test_blocks_without_content_are_reused_before_cached_ones() -> None:
    pool = BlockPool(2)
    cached, empty = pool.allocate(2)
    pool.register(cached, b"a")
    pool.release([cached])
    pool.release([empty])
    assert pool.allocate(1) == [empty]


def test_nothing_is_remembered_when_caching_is_off() -> None:
    pool = BlockPool(1, caching=False)
    blocks = pool.allocate(1)
    pool.register(blocks[0], b"a")
    assert pool.lookup([b"a"]) == []


def test_a_lost_reference_is_found_by_the_integrity_check() -> None:
    pool = BlockPool(2)
    blocks = pool.allocate(2)
    pool.check_integrity(blocks)
    with pytest.raises(RuntimeError, match="differ from their holders"):
        pool.check_integrity(blocks[:1])


class Holders(RuleBasedStateMachine):
    """Any sequence of operations leaves the pool consistent with who holds what."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(6)
        self.held: list[list[int]] = []
        self.names = 0

    @precondition(lambda self: self.pool.num_free > 0)
    @rule(count=st.integers(1, 3))
    def allocate(self, count: int) -> None:
        blocks = self.pool.allocate(min(count, self.pool.num_free))
        for block in blocks:
            self.pool.register(block, b"%d" % (self.names % 8))
            self.names += 1
        self.held.append(blocks)

    @rule(name=st.integers(0, 7))
    def share(self, name: int) -> None:
        blocks = self.pool.lookup([b"%d" % name])
        self.pool.share(blocks)
        self.held.append(blocks)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.pool.release(self.held.pop(data.draw(st.integers(0, len(self.held) - 1))))

    @invariant()
    def consistent(self) -> None:
        self.pool.check_integrity([block for blocks in self.held for block in blocks])


TestHolders = Holders.TestCase
TestHolders.settings = settings(max_examples=40, stateful_step_count=30)

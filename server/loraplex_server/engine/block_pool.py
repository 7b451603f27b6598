"""Blocks of the KV cache: who holds them, and which hold a known prefix."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

BlockHash = bytes


class BlockPool:
    """Counts references to blocks and remembers what full blocks contain.

    A block is in use (someone refers to it) or free. A free block may still be *cached*: its content is known by hash
    and a later request with the same prefix revives it. Free blocks are taken oldest first, so that what was used
    last stays cached longest.

    Args:
        num_blocks: blocks of the KV cache.
        caching: whether contents are remembered at all.
    """

    def __init__(self, num_blocks: int, *, caching: bool = True) -> None:
        self.num_blocks = num_blocks
        self.caching = caching
        self._references = [0] * num_blocks
        self._free: OrderedDict[int, None] = OrderedDict((block, None) for block in range(num_blocks))
        self._hash_of: dict[int, BlockHash] = {}
        self._block_of: dict[BlockHash, int] = {}

    @property
    def num_free(self) -> int:
        """Blocks that `allocate` could hand out, cached ones among them."""
        return len(self._free)

    @property
    def num_used(self) -> int:
        """Blocks that somebody refers to."""
        return self.num_blocks - len(self._free)

    def lookup(self, hashes: Sequence[BlockHash]) -> list[int]:
        """The blocks of the longest cached prefix; nothing is taken yet."""
        blocks = []
        for block_hash in hashes:
            block = self._block_of.get(block_hash)
            if block is None:
                break
            blocks.append(block)
        return blocks

    def share(self, blocks: Sequence[int]) -> None:
        """Take one more reference to each of these cached blocks."""
        for block in blocks:
            if self._references[block] == 0:
                del self._free[block]
            self._references[block] += 1

    def free_among(self, blocks: Sequence[int]) -> int:
        """How many of these blocks are free now, and so would no longer be after `share`."""
        return sum(1 for block in blocks if self._references[block] == 0)

    def allocate(self, count: int) -> list[int]:
        """Take `count` blocks whose content is lost.

        Raises:
            RuntimeError: fewer are free; ask `num_free` first.
        """
        if count > len(self._free):
            raise RuntimeError(f"{count} blocks asked for, {len(self._free)} free")
        return [self._take() for _ in range(count)]

    def _take(self) -> int:
        block, _ = self._free.popitem(last=False)
        self._forget(block)
        self._references[block] = 1
        return block

    def _forget(self, block: int) -> None:
        block_hash = self._hash_of.pop(block, None)
        if block_hash is not None:
            del self._block_of[block_hash]

    def register(self, block: int, block_hash: BlockHash) -> None:
        """Remember what a full block holds. The first block with some content keeps the name; a twin stays unnamed."""
        if self.caching and block_hash not in self._block_of and block not in self._hash_of:
            self._block_of[block_hash] = block
            self._hash_of[block] = block_hash

    def release(self, blocks: Sequence[int]) -> None:
        """Give back one reference to each, last block first: a prefix's tail is forgotten before its head."""
        for block in reversed(blocks):
            self._references[block] -= 1
            if self._references[block] == 0:
                self._free[block] = None
                if block not in self._hash_of:
                    self._free.move_to_end(block, last=False)  # nothing to lose: reuse it first

    def check_integrity(self, held: Sequence[int] = ()) -> None:
        """Raise RuntimeError unless the references are exactly those in `held` (a block once for each holder)."""
        counts = [0] * self.num_blocks
        for block in held:
            counts[block] += 1
        wrong = [block for block in range(self.num_blocks) if counts[block] != self._references[block]]
        if wrong:
            raise RuntimeError(f"references of blocks {wrong[:8]} differ from their holders")
        if {block for block in range(self.num_blocks) if self._references[block] == 0} != set(self._free):
            raise RuntimeError("the free list differs from the unreferenced blocks")
        if {block: name for name, block in self._block_of.items()} != self._hash_of:
            raise RuntimeError("the two directions of the prefix cache differ")

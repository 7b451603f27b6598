"""Names for the contents of KV blocks: equal names mean equal keys and values."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b


@dataclass(frozen=True, order=True)
class Part:
    """One adapter in the making of keys and values."""

    generation: str
    weight: float
    start: int = 0  # position from which it acts


class Lineage:
    """Which weights compute a sequence's keys and values, position by position.

    Two adapters' KV for one text differ, and so do two versions of one adapter under one name; the content hash tells
    them apart where a name or a path would not. The order of a mixture does not matter to its sum.

    An adapter that begins to act later (aLoRA) enters the chain of names at the block in which it begins: the blocks
    before that have the names, and the contents, that they have without it.

    Args:
        parts: none for the base.
        salt: equal contents have equal names only under equal salts: who may not know what others ask, has their own.
    """

    def __init__(self, parts: Iterable[Part] = (), salt: str = "") -> None:
        ordered = sorted(parts)
        root = [_text(part) for part in ordered if part.start == 0]
        # A part's text begins with a hash: none is taken for the line of a salt.
        self.root = _digest([*root, f"salt {salt!r}"] if salt else root)
        self._late = [part for part in ordered if part.start > 0]

    def entering(self, first: int, last: int) -> bytes:
        """What begins at positions `[first, last)`; empty where nothing does."""
        entering = [part for part in self._late if first <= part.start < last]
        return _digest(f"{_text(part)} {part.start - first}" for part in entering) if entering else b""


def extend_hashes(hashes: list[bytes], lineage: Lineage, tokens: Sequence[int], block_size: int) -> None:
    """Append the names of the full blocks of `tokens` that `hashes` does not have yet.

    Each name covers all tokens before it too: block i is what it is only after blocks 0 to i - 1.
    """
    for block in range(len(hashes), len(tokens) // block_size):
        first, last = block * block_size, (block + 1) * block_size
        parent = hashes[-1] if hashes else lineage.root
        content = array("q", tokens[first:last]).tobytes()
        hashes.append(blake2b(parent + content + lineage.entering(first, last), digest_size=16).digest())


def _text(part: Part) -> str:
    return f"{part.generation} {part.weight!r}"


def _digest(lines: Iterable[str]) -> bytes:
    return blake2b("\n".join(lines).encode(), digest_size=16).digest()


BASE = Lineage()

"""Names for the contents of KV blocks: equal names mean equal keys and values."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b


def root_hash(generations: Sequence[tuple[str, float]]) -> bytes:
    """The start of a chain: which weights compute the keys and values.

    Two adapters' KV for one text differ, and so do two versions of one adapter under one name; the content hash tells
    them apart where a name or a path would not. The order of a mixture does not matter to its sum.
    """
    text = "\n".join(f"{generation} {weight!r}" for generation, weight in sorted(generations))
    return blake2b(text.encode(), digest_size=16).digest()


def extend_hashes(hashes: list[bytes], root: bytes, tokens: Sequence[int], block_size: int) -> None:
    """Append the names of the full blocks of `tokens` that `hashes` does not have yet.

    Each name covers all tokens before it too: block i is what it is only after blocks 0 to i - 1.
    """
    for block in range(len(hashes), len(tokens) // block_size):
        parent = hashes[-1] if hashes else root
        content = array("q", tokens[block * block_size : (block + 1) * block_size]).tobytes()
        hashes.append(blake2b(parent + content, digest_size=16).digest())

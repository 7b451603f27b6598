"""The paged KV cache: one pair of tensors a layer, cut into blocks that the engine hands to sequences."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loraplex_kernels.pages import advise_huge_pages


@dataclass(frozen=True)
class KVLayer:
    """One layer's keys and values.

    Within a block a head's rows lie together, so that reading one head's context is a run of
    `block_size * head_dim` contiguous elements, never a stride.
    """

    k: Tensor  # [num_blocks, num_kv_heads, block_size, head_dim]
    v: Tensor  # [num_blocks, num_kv_heads, block_size, head_dim]

    @property
    def num_blocks(self) -> int:
        """Blocks that the cache is cut into."""
        return self.k.shape[0]

    @property
    def num_kv_heads(self) -> int:
        """Heads of the keys and values; a divisor of the query heads."""
        return self.k.shape[1]

    @property
    def block_size(self) -> int:
        """Tokens of a block."""
        return self.k.shape[2]

    @property
    def head_dim(self) -> int:
        """Elements of a head."""
        return self.k.shape[3]


def allocate(
    num_layers: int,
    num_blocks: int,
    num_kv_heads: int,
    block_size: int,
    head_dim: int,
    dtype: torch.dtype,
    device: torch.device,
) -> list[KVLayer]:
    """The cache of a whole model, zeroed, so that the memory is really there before the first request is taken.

    Raises:
        ValueError: a size is not positive.
    """
    sizes = {"num_blocks": num_blocks, "num_kv_heads": num_kv_heads, "block_size": block_size, "head_dim": head_dim}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be positive, not {size}")
    shape = tuple(sizes.values())

    def pages() -> Tensor:
        pages = torch.empty(shape, dtype=dtype, device=device)
        advise_huge_pages(pages)
        return pages.zero_()

    return [KVLayer(pages(), pages()) for _ in range(num_layers)]


def bytes_per_block(num_layers: int, num_kv_heads: int, block_size: int, head_dim: int, dtype: torch.dtype) -> int:
    """Bytes that one block takes over all layers, keys and values together."""
    return 2 * num_layers * num_kv_heads * block_size * head_dim * dtype.itemsize

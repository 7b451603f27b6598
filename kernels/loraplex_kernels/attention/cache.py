"""The paged KV cache: one pair of tensors a layer, cut into blocks that the engine hands to sequences."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from loraplex_kernels.cache_bytes import block_bytes
from loraplex_kernels.pages import advise_huge_pages

FLOAT8 = torch.float8_e4m3fn  # S.1111.111 is NaN, there is no infinity
FLOAT8_MAX = 448.0


@dataclass(frozen=True)
class KVLayer:
    """One layer's keys and values.

    Within a block a head's rows lie together, so that reading one head's context is a run of
    `block_size * head_dim` contiguous elements, never a stride.

    As float8 (e4m3), an element holds the key divided by `k_scale`, rounded to the nearest finite value, ties to even:
    what lies beyond the largest (448) becomes that, and NaN stays NaN, so that a broken model shows. It is read as the
    stored value times the scale. Lossy: a relative error of up to 1/16 in each element, more below 2**-6 of the scale.

    Raises:
        ValueError: a scale is not positive, or is not 1 although nothing is rounded.
    """

    k: Tensor  # [num_blocks, num_kv_heads, block_size, head_dim]
    v: Tensor  # [num_blocks, num_kv_heads, block_size, head_dim]
    k_scale: float = 1.0
    v_scale: float = 1.0

    def __post_init__(self) -> None:
        for name, scale in (("k_scale", self.k_scale), ("v_scale", self.v_scale)):
            if not (scale > 0 and math.isfinite(scale)):
                raise ValueError(f"{name} must be a positive number, not {scale}")
            if scale != 1 and not self.rounded:
                raise ValueError(
                    f"{name} is {scale}, but only a cache of {FLOAT8} is scaled, and this one is {self.k.dtype}"
                )

    @property
    def rounded(self) -> bool:
        """Whether keys and values are rounded to float8 on the way in."""
        return self.k.dtype == FLOAT8

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
    return block_bytes(num_layers, num_kv_heads, block_size, head_dim, dtype.itemsize)

"""Attention over a paged cache, and writing into it."""

from __future__ import annotations

import torch

from launches.dtypes import ACTIVATIONS, DTYPES
from launches.family import Family
from launches.recorder import DEVICE
from loraplex_kernels.attention.batch import AttentionBatch
from loraplex_kernels.attention.cache import KVLayer
from loraplex_kernels.attention.triton_op import paged_attention_triton, write_kv_triton

FIRST_WITH_FLOAT8 = 89
# Query heads by heads of keys and values. Llama 3's, Gemma's alone, Qwen's, and more of a head than a tile has rows.
HEADS = ((32, 8), (8, 8), (14, 2), (64, 8), (40, 2))
HEAD_DIMS = (64, 80, 96, 128, 256)
BLOCK_SIZES = (16, 32)
_CACHES = ("", "float8")


def _cache(dtype: str, stored: str, kv_heads: int, head_dim: int, block_size: int) -> KVLayer:
    shape = (9, kv_heads, block_size, head_dim)
    k, v = (torch.empty(shape, dtype=DTYPES[stored or dtype], device=DEVICE) for _ in range(2))
    return KVLayer(k, v, *((0.5, 0.25) if stored else ()))


def _attend(
    dtype: str, stored: str, heads: tuple[int, int], head_dim: int, block_size: int, window: bool, softcap: bool
) -> None:
    """One row of a long sequence, and many of another."""
    (query_heads, kv_heads), longest = heads, 3000
    batch = AttentionBatch(
        query_start=torch.empty(3, dtype=torch.int32, device=DEVICE),
        context=torch.empty(2, dtype=torch.int32, device=DEVICE),
        block_table=torch.empty(2, longest // block_size + 1, dtype=torch.int32, device=DEVICE),
        positions=torch.empty(101, dtype=torch.int64, device=DEVICE),
        slot_mapping=torch.empty(101, dtype=torch.int64, device=DEVICE),
        units=torch.empty(1, 2, dtype=torch.int32, device=DEVICE),
        block_size=block_size,
        query_counts=(1, 100),
        context_lens=(longest, 100),
    )
    packed = torch.empty(101, query_heads + 2 * kv_heads, head_dim, dtype=DTYPES[dtype], device=DEVICE)
    cache = _cache(dtype, stored, kv_heads, head_dim, block_size)
    masks = (2048 if window else None, 50.0 if softcap else None)
    paged_attention_triton(packed[:, :query_heads], cache, batch, 0.1, *masks)


def _write(dtype: str, stored: str, heads: tuple[int, int], head_dim: int, block_size: int) -> None:
    kv_heads = heads[1]
    packed = torch.empty(101, sum(heads) + kv_heads, head_dim, dtype=DTYPES[dtype], device=DEVICE)
    k, v = packed[:, heads[0] : sum(heads)], packed[:, sum(heads) :]
    slots = torch.empty(101, dtype=torch.int64, device=DEVICE)
    write_kv_triton(k, v, _cache(dtype, stored, kv_heads, head_dim, block_size), slots)


def _takes(capability: int, dtype: str, stored: str, *_: object) -> bool:
    return not stored or capability >= FIRST_WITH_FLOAT8


_SHAPES = {"dtype": ACTIVATIONS, "cache": _CACHES, "heads": HEADS, "head_dim": HEAD_DIMS, "block": BLOCK_SIZES}
ATTEND = Family(_attend, {**_SHAPES, "window": (False, True), "softcap": (False, True)}, _takes)
WRITE = Family(_write, _SHAPES, _takes)

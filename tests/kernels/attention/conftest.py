"""Batches over a cache in which everything that no sequence owns is NaN."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from support.tolerances import assert_close
from torch import Tensor

from loraplex_kernels.attention import AttentionBatch, KVLayer, Span, allocate, build_batch, write_kv
from loraplex_kernels.attention.naive import paged_attention_naive, write_kv_naive

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Scene:
    q: Tensor
    cache: KVLayer
    spans: tuple[Span, ...]
    batch: AttentionBatch

    def take(self, chosen: Sequence[tuple[int, int, int]]) -> Scene:
        """Other rows of the same sequences: (sequence, first row of its span, rows) each."""
        spans, rows = [], []
        starts = self.batch.query_start.tolist()
        for sequence, first, count in chosen:
            span = self.spans[sequence]
            spans.append(Span(count, span.context - span.count + first + count, span.block_table))
            rows.append(self.q[starts[sequence] + first : starts[sequence] + first + count])
        batch = build_batch(spans, self.cache.block_size, self.q.device)
        return Scene(torch.cat(rows), self.cache, tuple(spans), batch)

    def expected(self, scale: float, window: int | None, softcap: float | None) -> Tensor:
        """The formula in float64, on the CPU."""
        cache = self.cache
        wide = KVLayer(cache.k.cpu().double() * cache.k_scale, cache.v.cpu().double() * cache.v_scale)
        batch = build_batch(self.spans, cache.block_size, CPU)
        return paged_attention_naive(self.q.cpu().double(), wide, batch, scale, window, softcap)


MakeScene = Callable[..., Scene]


@pytest.fixture
def scene() -> MakeScene:
    """Builds a Scene from `(count, context)` of each sequence, its blocks scattered."""

    def make(
        rows: Sequence[tuple[int, int]],
        heads: int = 4,
        kv_heads: int = 2,
        head_dim: int = 64,
        block_size: int = 16,
        dtype: torch.dtype = torch.float32,
        device: torch.device = CPU,
        cache_dtype: torch.dtype | None = None,
        scales: tuple[float, float] = (1.0, 1.0),
    ) -> Scene:
        generator = torch.Generator().manual_seed(len(rows) + head_dim)
        needed = [-(-context // block_size) for _, context in rows]
        stored = cache_dtype or dtype
        cache = allocate(1, sum(needed) + 3, kv_heads, block_size, head_dim, stored, CPU)[0]
        cache = replace(cache, k_scale=scales[0], v_scale=scales[1])
        cache.k.fill_(float("nan"))
        cache.v.fill_(float("nan"))
        free = list(range(cache.num_blocks))
        random.Random(0).shuffle(free)
        tables = [[free.pop() for _ in range(count)] for count in needed]
        whole = [Span(context, context, table) for (_, context), table in zip(rows, tables, strict=True)]
        slots = build_batch(whole, block_size, CPU).slot_mapping
        k, v = torch.randn(2, len(slots), kv_heads, head_dim, generator=generator).to(dtype)
        (write_kv_naive if cache.rounded else write_kv)(k, v, cache, slots)
        cache = replace(cache, k=cache.k.to(device), v=cache.v.to(device))
        spans = tuple(Span(count, context, table) for (count, context), table in zip(rows, tables, strict=True))
        batch = build_batch(spans, block_size, device)
        # As the models hand it over: a view of the packed q, k and v.
        packed = torch.randn(batch.tokens, heads + 2 * kv_heads, head_dim, generator=generator)
        return Scene(packed.to(dtype).to(device)[:, :heads], cache, spans, batch)

    return make


@pytest.fixture
def close() -> Callable[[Tensor, Tensor], None]:
    """Asserts that a result is the float64 reference within its own dtype's tolerance."""
    return partial(assert_close, op="attention")

"""Attention over pages: decoding, and whole prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu.clock import Time
from gpu.part import Part, Row, Setting, check_near, record
from gpu.tables import Column
from loraplex_kernels.attention import AttentionBatch, KVLayer, Span, allocate, build_batch, paged_attention
from loraplex_kernels.attention.sequence import sequence_attention

BLOCK = 16
NEAR = 0.02  # of the norm of the result


@dataclass(frozen=True)
class Heads:
    """Of one layer, and the lengths that it is timed at."""

    queries: int
    kv: int
    dim: int
    context: int  # of sequences that decode
    prompts: tuple[int, ...]


HEADS = {
    "llama-3.1-8b": Heads(32, 8, 128, 1024, (512, 4096)),
    "tiny": Heads(4, 2, 32, 48, (24, 40)),
}


class Case(NamedTuple):
    """Sequences of one length, each with its last token to compute, or with all."""

    kind: str
    sequences: int
    context: int

    @property
    def rows(self) -> int:
        """Of each sequence."""
        return 1 if self.kind == "decode" else self.context


@dataclass(frozen=True)
class Inputs:
    """Of the calls that take turns: one cache, other pages for each."""

    q: Tensor  # [rows, heads, dim]
    cache: KVLayer
    batches: list[AttentionBatch]

    @property
    def scale(self) -> float:
        """Of the scores."""
        return float(self.q.shape[2] ** -0.5)


def cases(setting: Setting) -> Iterator[Case]:
    """Decoding at each number of rows, then prompts."""
    heads = HEADS[setting.shape]
    for rows in setting.rows:
        yield Case("decode", rows, heads.context)
    for tokens in heads.prompts:
        yield Case("prefill", 1, tokens)


def columns(setting: Setting) -> Sequence[Column]:
    """Ours beside torch's, which has its keys and values in one piece."""
    heads = (Column("kind", 7), Column("sequences"), Column("context"), Column("MiB", 4))
    return (*heads, Column("ours: us", 9), Column("torch, no pages: us", 9), Column("of copy"), Column("TFLOP/s"))


def label(case: Case) -> Sequence[object]:
    """As in the table."""
    return tuple(case)


def measure(setting: Setting, case: Case) -> Row:
    """Of one layer."""
    heads, dtype = HEADS[setting.shape], setting.dtype
    nbytes = 2 * case.sequences * case.context * heads.kv * heads.dim * dtype.itemsize
    inputs = _inputs(setting, case, heads, setting.clock.sets(nbytes))
    ways = {"ours": partial(_ours, setting, inputs), "torch": partial(_torch, setting, inputs, case)}
    outcomes = setting.timed(ways)
    ours, seen = outcomes["ours"], case.context if case.rows == 1 else (case.context + 1) / 2
    operations = 4 * case.sequences * case.rows * seen * heads.queries * heads.dim
    rate = f"{operations / ours.seconds / 1e12:.1f}" if isinstance(ours, Time) else ""
    moved = nbytes + 2 * inputs.q.nbytes
    cells = (*label(case), nbytes >> 20, ours, outcomes["torch"], setting.of_copy(moved, ours), rate)
    return Row(cells, {**case._asdict(), "nbytes": moved, "operations": operations, **record(outcomes)})


def _inputs(setting: Setting, case: Case, heads: Heads, sets: int) -> Inputs:
    blocks = -(-case.context // BLOCK)
    pool = sets * case.sequences * blocks
    cache = allocate(1, pool, heads.kv, BLOCK, heads.dim, setting.dtype, setting.device)[0]
    cache.k.normal_()
    cache.v.normal_()
    order = torch.randperm(pool, generator=torch.Generator().manual_seed(4)).view(sets, case.sequences, blocks)
    batches = [
        build_batch([Span(case.rows, case.context, table) for table in tables], BLOCK, setting.device)
        for tables in order.tolist()
    ]
    q = torch.randn(case.sequences * case.rows, heads.queries, heads.dim, device=setting.device)
    return Inputs(q.to(setting.dtype), cache, batches)


def _ours(setting: Setting, inputs: Inputs) -> Time:
    q, cache, scale, batch = inputs.q, inputs.cache, inputs.scale, inputs.batches[0]
    wide = KVLayer(cache.k.float(), cache.v.float())
    count = batch.query_counts[0]
    parts = [
        sequence_attention(q[first * count :][:count].float(), wide, batch, first, scale)
        for first in range(len(batch.query_counts))
    ]
    check_near(paged_attention(q, cache, batch, scale), torch.cat(parts), NEAR, "ours")
    return setting.clock.time(*(partial(paged_attention, q, cache, each, scale) for each in inputs.batches))


def _torch(setting: Setting, inputs: Inputs, case: Case) -> Time:
    """The best that torch chooses for itself, on keys and values that were gathered before."""
    q = inputs.q.view(case.sequences, case.rows, *inputs.q.shape[1:]).transpose(1, 2)

    def gathered(pages: Tensor, batch: AttentionBatch) -> Tensor:
        chosen = pages[batch.block_table.long()].transpose(2, 3)  # [sequences, blocks, BLOCK, kv, dim]
        tokens = chosen.reshape(case.sequences, -1, *chosen.shape[3:])[:, : case.context]
        return tokens.transpose(1, 2).contiguous()

    pairs = [(gathered(inputs.cache.k, each), gathered(inputs.cache.v, each)) for each in inputs.batches]
    attend = partial(F.scaled_dot_product_attention, is_causal=case.rows > 1, scale=inputs.scale, enable_gqa=True)
    return setting.clock.time(*(partial(attend, q, k, v) for k, v in pairs))


ATTENTION = Part("Attention of one layer", columns, cases, label, measure)

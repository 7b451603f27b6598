"""The largest steps, computed before there are requests: their kernels are compiled, and their memory is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from loraplex_adapters.terms import Terms
from loraplex_kernels import attention, lora
from loraplex_kernels.attention import KVLayer, Span
from loraplex_kernels.lora import AdapterTable, LoraStep, Run, SiteShape
from loraplex_kernels.lora.tiles import FUSED_PROGRAM_BYTES
from loraplex_server.engine.messages import SamplingParams
from loraplex_server.engine.sample_inputs import sample_inputs
from loraplex_server.engine.sampler import sample_on_device
from loraplex_server.engine.sequence import Sequence as Answer
from loraplex_server.models.adapter_step import AdapterStep, TermUse
from loraplex_server.models.decoder import Decoder

RANK = 16
# Rows of the table, those of adapters without DoRA's magnitudes; with them, the one behind.
PLAIN, LOWEST, HIGHEST = 0, 2, 4
SLOTS = 6


@dataclass(frozen=True)
class StepSizes:
    """Of the largest step that can come."""

    tokens: int
    sequences: int
    length: int  # of the longest sequence
    block_size: int

    def blocks(self, counts: Sequence[int]) -> int:
        """Of the KV cache, for sequences that begin with so many tokens."""
        return sum(-(-count // self.block_size) for count in counts)

    def spread(self) -> list[int]:
        """Tokens of each sequence where as many as can be have a share of the largest step."""
        sequences = min(self.sequences, self.tokens)
        each, more = divmod(self.tokens, sequences)
        return [min(each + (place < more), self.length) for place in range(sequences)]

    def all_counts(self) -> Iterator[list[int]]:
        """Steps that between them launch what there is to launch, the largest first.

        Kernels have forms for ranges of rows, whose ends are powers of two.
        """
        yield self.spread()
        yield [1] * min(self.sequences, self.tokens)
        count = min(self.tokens, self.length)
        while count:
            yield [count]
            count = 1 << (count - 1).bit_length() - 1 if count > 1 else 0  # the next power of two below


def zero_adapters(model: Decoder, dtype: torch.dtype, device: torch.device, *, int8: bool) -> AdapterTable:
    """A table of adapters of zeros on all linears, each without DoRA magnitudes and with them.

    PLAIN has the rank that most have. LOWEST has 1 and HIGHEST so many, if on one linear alone, that one row of the one
    is decoded in one launch wherever any adapter is, and of the other in two.
    """
    itemsize = 1 if int8 else dtype.itemsize
    narrowest = min(model.sites, key=lambda site: site.in_features + site.out_features)
    two_launches = 1 + FUSED_PROGRAM_BYTES // (min(site.in_features for site in model.sites) * itemsize)
    table = AdapterTable(SLOTS, len(model.sites), dtype, device, int8=int8)
    for first, rank, highest in ((PLAIN, RANK, RANK), (LOWEST, 1, 1), (HIGHEST, 1, two_launches)):
        for magnitude in (False, True):
            shapes = [
                SiteShape(
                    site.index,
                    site.in_features,
                    site.out_features,
                    highest if site is narrowest else rank,
                    1.0,
                    magnitude,
                )
                for site in model.sites
            ]
            layout = lora.plan(shapes, dtype.itemsize, int8=int8)
            table.install(first + magnitude, layout, torch.zeros(layout.nbytes, dtype=torch.uint8, device=device))
    return table


@torch.inference_mode()
def rehearse(model: Decoder, cache: Sequence[KVLayer], table: AdapterTable, sizes: StepSizes) -> None:
    """Launch every form of every kernel that a request can ask for, so that none is compiled while others wait.

    Each kind of step is run on the base, with a LoRA and with DoRA, and tokens are chosen from it in all ways. Beside
    sizes of steps the forms hang on ranks, where adapters are decoded, and on whether a context is cut into parts.

    Args:
        model: of the engine.
        cache: of at least `sizes.blocks(sizes.spread())` blocks, and those of one sequence of all tokens.
        table: from `zero_adapters`.
        sizes: of the largest step.
    """
    for counts in sizes.all_counts():
        for slot in (None, PLAIN, PLAIN + 1):
            _run(model, cache, table, list(_spans(counts, sizes.block_size)), slot)
    one = [Span(1, 1, range(1))]
    for slot in range(LOWEST, SLOTS):
        _run(model, cache, table, one, slot)
    # Beside an adapter that brings more than low rank, queries and keys are turned by kernels of their own.
    beyond = AdapterStep(terms=(TermUse(Terms(), torch.zeros(1, dtype=torch.int64, device=table.device), 1.0),))
    batch = attention.build_batch(one, sizes.block_size, table.device)
    model.forward(torch.zeros_like(beyond.terms[0].rows), batch, cache, beyond)
    blocks = -(-sizes.length // sizes.block_size)
    _run(model, cache, table, [Span(1, sizes.length, [0] * blocks)], None)  # the longest, of one block again and again


def _run(
    model: Decoder, cache: Sequence[KVLayer], table: AdapterTable, spans: Sequence[Span], slot: int | None
) -> None:
    """A step whose sequences all use one adapter, or none."""
    counts = [span.count for span in spans]
    ends = list(accumulate(counts))
    batch = attention.build_batch(spans, cache[0].block_size, table.device)
    tokens = torch.zeros(ends[-1], dtype=torch.int64, device=table.device)
    hidden = model.forward(tokens, batch, cache, None if slot is None else _step(counts, table, slot))
    last = torch.tensor([end - 1 for end in ends], device=table.device)
    of_head = None if slot is None else _step([1] * len(last), table, slot)
    _choose(model.logits(hidden.index_select(0, last), of_head))


def _spans(counts: Sequence[int], block_size: int) -> Iterator[Span]:
    first = 0
    for count in counts:
        blocks = -(-count // block_size)
        yield Span(count, count, range(first, first + blocks))
        first += blocks


def _step(counts: Sequence[int], table: AdapterTable, slot: int) -> AdapterStep:
    firsts = accumulate(counts, initial=0)
    runs = [Run(first, count, slot) for first, count in zip(firsts, counts, strict=False)]
    batch = lora.build_batch(runs, table.device, magnitude=slot % 2 == 1)
    if batch is None:
        raise ValueError("a step has at least one row")
    return AdapterStep(LoraStep(batch, table))


def _choose(logits: torch.Tensor) -> None:
    for sampling in (
        SamplingParams(max_tokens=1, temperature=0.0),
        SamplingParams(max_tokens=1, temperature=0.0, logprobs=5),
        SamplingParams(max_tokens=1, temperature=1.0, seed=0),
        SamplingParams(max_tokens=1, temperature=1.0, seed=0, top_p=0.9, top_k=50, logprobs=5, logit_bias={0: 1.0}),
    ):
        rows = [Answer("rehearsal", 0, 1, sampling, 2, [0]) for _ in range(logits.shape[0])]
        sample_on_device(logits, sample_inputs(rows, logits.shape[1]))

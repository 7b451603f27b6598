"""Random adapters and random steps: what the op's tests and its benchmarks both run on."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from loraplex_kernels.adapter_layout import SiteShape, plan
from loraplex_kernels.lora.quantize import quantize_rows
from loraplex_kernels.lora.table import AdapterTable
from loraplex_kernels.lora.weights import site_weights

# Which of the adapters the rows of a step use.
POPULARITIES = ("identical", "distinct", "uniform", "skewed", "zipf")


def pick_slots(popularity: str, rows: int, adapters: int, seed: int) -> list[int]:
    """An adapter for each row.

    Args:
        popularity: identical: one for all. distinct: a new one for each row, while there are any. uniform: drawn alike.
            skewed: half of the rows share one. zipf: the k-th most popular drawn with probability ~ 1 / k.
        rows: of the step.
        adapters: to draw from, slots 0 to adapters - 1.
        seed: the same seed, the same rows.

    Raises:
        ValueError: there is no such popularity.
    """
    rng = random.Random(seed)
    if popularity == "identical":
        return [0] * rows
    if popularity == "distinct":
        return [row % adapters for row in range(rows)]
    if popularity == "uniform":
        return [rng.randrange(adapters) for _ in range(rows)]
    if popularity == "skewed":
        return [0 if rng.random() < 0.5 else rng.randrange(adapters) for _ in range(rows)]
    if popularity == "zipf":
        return rng.choices(range(adapters), weights=[1 / (k + 1) for k in range(adapters)], k=rows)
    raise ValueError(f"popularity must be one of {', '.join(POPULARITIES)}, not '{popularity}'")


def random_table(
    adapters: Sequence[Sequence[SiteShape]],
    dtype: torch.dtype,
    device: torch.device,
    seed: int,
    sites: int,
    int8: bool = False,
) -> AdapterTable:
    """A table whose slot i holds an adapter with random weights, of the shapes that `adapters[i]` lists.

    A and B are scaled so that an update is about as large as what it is added to; magnitudes lie in [0.5, 1.5].
    """
    generator = torch.Generator().manual_seed(seed)
    table = AdapterTable(len(adapters), sites, dtype, device, int8=int8)
    for slot, shapes in enumerate(adapters):
        layout = plan(shapes, dtype.itemsize, int8=int8)
        buffer = torch.zeros(layout.nbytes, dtype=torch.uint8)
        for placement in layout.placements:
            weights, shape = site_weights(buffer, placement, dtype), placement.shape
            a = torch.randn(weights.a.shape, generator=generator) / shape.in_features**0.5
            b = torch.randn(weights.b.shape, generator=generator) / max(shape.rank, 1) ** 0.5
            if weights.factor is None:
                weights.a.copy_(a)
                weights.b.copy_(b)
            else:
                weights.factor.copy_(quantize_rows(a, weights.a) * quantize_rows(b, weights.b))
            if weights.magnitude is not None:
                weights.magnitude.copy_(torch.rand(weights.magnitude.shape, generator=generator) + 0.5)
        table.install(slot, layout, buffer.to(device))
    return table

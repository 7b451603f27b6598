"""Linears as wide as models have them, and widths at which a kernel begins another piece."""

from __future__ import annotations

import pytest
import torch

from loraplex_kernels.lora import Run, SiteGroup, SiteShape, build_batch
from loraplex_kernels.lora.workload import random_table
from loraplex_server.bench.limits.threads import computing_with

from .conftest import Scene

CPU = torch.device("cpu")
GROUPS = {
    "llama 8B q, k, v": (4096, 1024, 1024),
    "llama 8B gate, up": (14336, 14336),
    "llama 1B q, k, v": (2048, 512, 512),
    "llama 1B gate, up": (8192, 8192),
    "qwen 7B q, k, v": (3584, 512, 512),
    "a vocabulary": (32768,),
    "narrow after wide": (6144, 1, 2048, 1023),
    **{str(width): (width,) for width in (1023, 1025, 2047, 2048, 2049, 4032, 4095, 4096, 4097, 6144)},
}
# What a row does: its adapters, and whether one of them has DoRA's magnitudes.
KINDS = {"plain": ((0,), False), "mixed": ((0, 1), False), "dora": ((0,), True), "mixed with dora": ((0, 1), True)}


def scene(
    widths: tuple[int, ...], uses: tuple[int, ...], dora: bool, rows: int, dtype: torch.dtype, rank: int, inputs: int
) -> Scene:
    adapters = [
        [SiteShape(site, inputs, width, rank, 0.5, dora and slot == 0) for site, width in enumerate(widths)]
        for slot in range(3)
    ]
    table = random_table(adapters, dtype, CPU, seed=1, sites=len(widths))
    group = SiteGroup(sites=tuple(range(len(widths))), widths=widths)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(rows, inputs, generator=generator).to(dtype)
    y = torch.randn(rows, sum(widths), generator=generator).to(dtype)
    # Each row by itself: with other adapters than its neighbours, and the last ones together.
    runs = [Run(row, 1, (slot + row) % 3, 0.5) for row in range(rows) for slot in uses]
    batch = build_batch(runs, CPU, magnitude=dora)
    if batch is None:
        raise ValueError("a scene needs a row that uses an adapter")
    return Scene(x, y, batch, table, group)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("widths", GROUPS.values(), ids=GROUPS)
def test_every_width_matches_the_formula(add_lora, assert_matches, widths, kind, dtype):
    for rows in (1, 2):
        made = scene(widths, *KINDS[kind], rows, dtype, rank=4, inputs=64)
        assert_matches(made.run(add_lora), made.expected())


@pytest.mark.parametrize("threads", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("name", ["llama 8B q, k, v", "llama 1B q, k, v", "narrow after wide", "4096"])
def test_a_lone_row_is_shared_among_many_threads(add_lora, assert_matches, name, threads):
    """There are more threads than linears: each is cut, the narrow ones into fewer pieces than the wide ones."""
    made = scene(GROUPS[name], (0,), False, 1, torch.bfloat16, rank=32, inputs=2048)
    before = made.run(add_lora)
    with computing_with(threads):
        after = made.run(add_lora)
    assert torch.equal(after, before)
    assert_matches(after, made.expected())

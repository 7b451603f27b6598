"""Steps over random adapters, the formula in float64 to hold them against, and every way to compute the op."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from support.tolerances import assert_close
from torch import Tensor

from loraplex_kernels import native
from loraplex_kernels.lora import AdapterTable, LoraBatch, Run, SiteGroup, SiteShape, add_lora_naive, build_batch, cpu
from loraplex_kernels.lora.eager import add_lora_eager
from loraplex_kernels.lora.workload import random_table

CPU = torch.device("cpu")
WIDTHS = (96, 17, 40)
GROUP = SiteGroup(sites=(1, 0, 3), widths=WIDTHS)

AddLora = Callable[[Tensor, Tensor, SiteGroup, LoraBatch, AdapterTable], None]


@dataclass(frozen=True)
class Scene:
    x: Tensor
    y: Tensor
    batch: LoraBatch
    table: AdapterTable
    group: SiteGroup = GROUP

    def expected(self) -> Tensor:
        wide = self.y.double()
        add_lora_naive(wide, self.x.double(), self.group, self.batch, self.table)
        return wide

    def run(self, add_lora: AddLora) -> Tensor:
        y = self.y.clone()
        add_lora(y, self.x, self.group, self.batch, self.table)
        return y


def adapters_of(
    ranks: Sequence[Sequence[int]], in_features: int, magnitudes: Sequence[bool], group: SiteGroup = GROUP
) -> list[list[SiteShape]]:
    """One adapter for each of `ranks`, which lists its rank at each site of the group; -1 leaves the site out."""
    return [
        [
            SiteShape(site, in_features, width, rank, 0.25 * (slot % 7 + 1), magnitude)
            for site, width, rank in zip(group.sites, group.widths, of_sites, strict=True)
            if rank >= 0
        ]
        for slot, (of_sites, magnitude) in enumerate(zip(ranks, magnitudes, strict=True))
    ]


MIXED_RANKS = ((1, 2, 3), (16, 16, 16), (0, 8, 0), (64, 1, 7), (128, 128, 5), (4, -1, 4), (8, 8, 8), (33, 17, 9))


def make_scene(
    runs: Sequence[Run],
    rows: int,
    dtype: torch.dtype = torch.float32,
    in_features: int = 72,
    ranks: Sequence[Sequence[int]] = MIXED_RANKS,
    magnitudes: Sequence[bool] | None = None,
    int8: bool = False,
    device: torch.device = CPU,
    group: SiteGroup = GROUP,
) -> Scene:
    magnitudes = magnitudes or (False,) * len(ranks)
    table = random_table(adapters_of(ranks, in_features, magnitudes, group), dtype, device, seed=3, sites=5, int8=int8)
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(rows, in_features, generator=generator).to(device, dtype)
    y = torch.randn(rows, sum(group.widths), generator=generator).to(device, dtype)
    batch = build_batch(runs, device, magnitude=any(magnitudes[run.slot] for run in runs))
    if batch is None:
        raise ValueError("a scene needs a row that uses an adapter")
    return Scene(x, y, batch, table, group)


def assert_matches(actual: Tensor, expected: Tensor) -> None:
    assert_close(actual, expected, "lora")


@pytest.fixture(name="make_scene")
def make_scene_fixture() -> Callable[..., Scene]:
    return make_scene


@pytest.fixture(name="assert_matches")
def assert_matches_fixture() -> Callable[[Tensor, Tensor], None]:
    return assert_matches


def native_variants() -> list[str]:
    """The builds that this processor runs; one stands in the list even where none does, and is then skipped."""
    return native.variants() or ["none"]


@pytest.fixture(params=[*native_variants(), "eager"])
def add_lora(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AddLora:
    """Each way to compute the op on this machine: every build of the C kernel, and torch."""
    if request.param == "eager":
        return add_lora_eager
    if request.param == "none":
        pytest.skip(native.status())
    function = native.load(request.param).loraplex_lora
    monkeypatch.setattr(cpu, "kernel", lambda: function)
    return cpu.add_lora_cpu

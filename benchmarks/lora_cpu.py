"""The low-rank update on the CPU against the ways people write it in torch.

    python benchmarks/lora_cpu.py [--quick] [--threads 2]

Every call reads other weights than the one before, more of them than the caches hold, as the layers of a model do.
The times are microseconds a call, the lower quartile of many, all ways taking turns. GB/s counts each adapter's weights
once; the fraction is of what a plain sum over a large tensor reads. "ours int8" is the same op on the same adapters
rounded to int8, which are about half the bytes of bfloat16. Nothing is printed for an op that is wrong.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from loraplex_kernels import native
from loraplex_kernels.lora import (
    AdapterTable,
    LoraBatch,
    Run,
    SiteGroup,
    SiteShape,
    add_lora,
    add_lora_naive,
    build_batch,
)
from loraplex_kernels.lora.eager import add_lora_eager
from loraplex_kernels.lora.workload import pick_slots, random_table

CPU = torch.device("cpu")
SHAPES = {
    "square": (2048, (2048,)),
    "Qwen2.5-0.5B qkv": (896, (896, 128, 128)),
    "Qwen2.5-0.5B o": (896, (896,)),
    "Qwen2.5-0.5B gate/up": (896, (4864, 4864)),
    "Qwen2.5-0.5B down": (4864, (896,)),
}
RANKS = {"16": (16,), "8..64": (8, 16, 32, 64)}
CASES = [(1, "identical"), (8, "distinct"), (32, "distinct"), (32, "identical"), (32, "zipf")]
WORKING_SET = 96 << 20  # bytes; three times the last-level cache of a large desktop core complex
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}
COLUMNS = (
    *("linear", "dtype", "ranks", "rows", "adapters", "loop", "gathered bmm", "contiguous bmm"),
    *("ours", "GB/s", "of read", "ours int8"),
)


@dataclass(frozen=True)
class Scene:
    """One step against `copies` sets of weights, of which each call takes the next."""

    x: Tensor
    y: Tensor
    batch: LoraBatch
    table: AdapterTable
    int8: tuple[LoraBatch, AdapterTable]  # the same again; a batch remembers the table that it was used with
    groups: list[SiteGroup]
    slots: list[int]
    nbytes: int  # of weights that one call reads


def make_scene(shape: str, ranks: Sequence[int], rows: int, popularity: str, dtype: torch.dtype) -> Scene:
    K, widths = SHAPES[shape]
    slots = pick_slots(popularity, rows, 32, seed=0)
    adapters = max(slots) + 1
    rank_of = [ranks[slot % len(ranks)] for slot in range(adapters)]
    read = sum(rank_of[slot] * (K + width) for slot in set(slots) for width in widths)  # elements
    held = sum(rank * (K + width) for rank in rank_of for width in widths)
    copies = min(
        max(2, WORKING_SET // read), (1 << 30) // (held * dtype.itemsize)
    )  # the caches do not hold int8 either
    count = len(widths)
    shapes = [
        [SiteShape(copy * count + i, K, width, rank, 0.5) for copy in range(copies) for i, width in enumerate(widths)]
        for rank in rank_of
    ]
    table = random_table(shapes, dtype, CPU, seed=1, sites=copies * count)
    int8_table = random_table(shapes, dtype, CPU, seed=1, sites=copies * count, int8=True)
    groups = [SiteGroup(tuple(range(copy * count, (copy + 1) * count)), widths) for copy in range(copies)]
    runs = [Run(row, 1, slot) for row, slot in enumerate(slots)]
    batch, int8_batch = build_batch(runs, CPU), build_batch(runs, CPU)
    if batch is None or int8_batch is None:
        raise ValueError("a benchmark needs rows")
    x, y = torch.randn(rows, K).to(dtype), torch.randn(rows, sum(widths)).to(dtype)
    return Scene(x, y, batch, table, (int8_batch, int8_table), groups, slots, read * dtype.itemsize)


def stacks(scene: Scene) -> list[list[tuple[Tensor, Tensor]]]:
    """A `[adapters, K, rank]` and B `[adapters, rank, width]` of each copy and linear, padded to the highest rank."""
    table, highest = scene.table, scene.table.highest_rank(range(scene.table.slots))

    def pad(matrix: Tensor) -> Tensor:
        return torch.nn.functional.pad(matrix, (0, 0, 0, highest - len(matrix)))

    def stack(site: int) -> tuple[Tensor, Tensor]:
        cells = [cell for slot in range(table.slots) if (cell := table.weights(slot, site)) is not None]
        a = torch.stack([pad(cell.a) for cell in cells])
        return a.transpose(1, 2), torch.stack([pad(cell.b * cell.scale) for cell in cells])

    return [[stack(site) for site in group.sites] for group in scene.groups]


def add_gathered(y: Tensor, x: Tensor, group: SiteGroup, weights: list[tuple[Tensor, Tensor]], index: Tensor) -> None:
    """Copy each row's adapter, then two batched products."""
    for (a, b), offset, width in zip(weights, group.offsets, group.widths, strict=True):
        y[:, offset : offset + width] += (x[:, None] @ a[index] @ b[index])[:, 0]


def add_contiguous(y: Tensor, x: Tensor, group: SiteGroup, weights: list[tuple[Tensor, Tensor]]) -> None:
    """The same where the rows' adapters happen to lie in the rows' order."""
    for (a, b), offset, width in zip(weights, group.offsets, group.widths, strict=True):
        y[:, offset : offset + width] += (x[:, None] @ a[: len(x)] @ b[: len(x)])[:, 0]


def ways_of(scene: Scene) -> dict[str, Callable[[Tensor, int], None]]:
    """What is compared: each adds copy number `i` of the adapters to y."""
    batched, index = stacks(scene), torch.tensor(scene.slots)
    common = (scene.batch, scene.table)
    ways: dict[str, Callable[[Tensor, int], None]] = {
        "loop": lambda y, i: add_lora_eager(y, scene.x, scene.groups[i], *common),
        "gathered": lambda y, i: add_gathered(y, scene.x, scene.groups[i], batched[i], index),
        "contiguous": lambda y, i: add_contiguous(y, scene.x, scene.groups[i], batched[i]),
        "ours": lambda y, i: add_lora(y, scene.x, scene.groups[i], *common),
        "ours int8": lambda y, i: add_lora(y, scene.x, scene.groups[i], *scene.int8),
    }
    if scene.slots != list(range(len(scene.slots))):
        del ways["contiguous"]  # it would be another sum
    return ways


def measure(scene: Scene, seconds: float) -> dict[str, float]:
    """Seconds a call of each way, the lower quartile.

    Raises:
        ArithmeticError: one of them is not the formula.
    """
    ways, copies = ways_of(scene), len(scene.groups)
    expected = _expected(scene, scene.batch, scene.table)
    times: dict[str, list[float]] = {}
    for name, add in ways.items():
        y = scene.y.clone()
        add(y, 0)
        right = _expected(scene, *scene.int8) if name == "ours int8" else expected
        worst = float((y.double() - right).abs().max())
        if not worst < TOLERANCE[scene.y.dtype]:
            raise ArithmeticError(f"{name} is off by {worst}: no timing of a wrong op")
        times[name] = []
    y, end, turn = scene.y.clone(), time.perf_counter() + seconds, 0
    while time.perf_counter() < end or turn < 8:
        for add, of_way in zip(ways.values(), times.values(), strict=True):
            for repeat in range(4):  # each way runs warm, on weights that are not
                begin = time.perf_counter()
                add(y, (turn * 4 + repeat) % copies)
                of_way.append(time.perf_counter() - begin)
        turn += 1
    return {name: statistics.quantiles(of_way, n=4)[0] for name, of_way in times.items()}


def _expected(scene: Scene, batch: LoraBatch, table: AdapterTable) -> Tensor:
    expected = scene.y.double()
    add_lora_naive(expected, scene.x.double(), scene.groups[0], batch, table)
    return expected


def read_bandwidth() -> float:
    """Bytes a second that a sum over a tensor much larger than any cache reads, the best of many."""
    large = torch.ones(64 << 20)
    best = float("inf")
    for _ in range(20):
        begin = time.perf_counter()
        torch.dot(large, large)
        best = min(best, time.perf_counter() - begin)
    return large.nbytes / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="bfloat16 at rank 16 only, a shorter time each")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bandwidth = read_bandwidth()
    print(f"{native.status()}; {options.threads} threads; reads {bandwidth / 1e9:.1f} GB/s\n")
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for dtype in (torch.bfloat16,) if options.quick else (torch.bfloat16, torch.float32):
        for ranks in ("16",) if options.quick else RANKS:
            for shape in SHAPES:
                for rows, popularity in CASES:
                    scene = make_scene(shape, RANKS[ranks], rows, popularity, dtype)
                    times = measure(scene, 0.3 if options.quick else 1.0)
                    shown = partial(lambda times, name: f"{times[name] * 1e6:.0f}" if name in times else "", times)
                    rate = scene.nbytes / times["ours"]
                    print(
                        f"| {shape} | {str(dtype).removeprefix('torch.')} | {ranks} | {rows} | {popularity} "
                        f"| {shown('loop')} | {shown('gathered')} | {shown('contiguous')} | **{shown('ours')}** "
                        f"| {rate / 1e9:.1f} | {rate / bandwidth:.0%} | **{shown('ours int8')}** |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()

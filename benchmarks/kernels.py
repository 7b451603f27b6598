"""The kernels on one GPU: time, bytes, and the fraction of what a copy moves, against the ways that others do it.

    python benchmarks/kernels.py [--part lora linear] [--shape llama-3.1-8b] [--rows 1 8 32 64]

Times are microseconds, the median of many calls by the device's own events, replayed from a CUDA graph (those with a
star are not, because they wait for the device), with the L2 cache overwritten before each. "of copy" is the bytes that
must be moved, each once, over the time, as a fraction of what a large copy moves. Nothing is timed that is wrong. The
whole result is kept in benchmarks/results/. `--device cpu --shape tiny` only shows that it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu import linear_ways, lora_ways
from gpu.clock import Clock
from gpu.lora_case import lora_case
from gpu.results import RESULTS, card, save, table
from gpu.shapes import SHAPES, Shape

from loraplex_kernels.lora.workload import POPULARITIES

MIXED = "8..64"
RANKS = {"16": (16,), MIXED: (8, 16, 32, 64)}
LORA_WAYS = ("ours", "one launch", "two launches", "torch loop", "gathered bmm", "PEFT")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    device = torch.device(options.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    clock = Clock(device, options.repeats)
    copy = clock.copy_bytes_per_second()
    print(f"{card(device)}: a copy moves {copy / 1e9:.0f} GB/s\n")
    result: dict[str, Any] = {"copy_gb_s": copy / 1e9, "dtype": str(dtype), "shape": options.shape}
    with torch.inference_mode():
        if "lora" in options.part:
            result["lora"] = list(_lora(options, clock, copy, dtype))
        if "linear" in options.part:
            result["linear"] = list(_linear(options, clock, copy, dtype))
    print(f"wrote {save('kernels', device, result, options.results)}")
    return 0


def _lora(options: argparse.Namespace, clock: Clock, copy: float, dtype: torch.dtype) -> Iterator[dict[str, Any]]:
    """One dictionary for each case; the table is printed when all are there."""
    rows = []
    for shape in SHAPES[options.shape]:
        for count, popularity, ranks, int8 in _lora_cases(options):
            measured = _lora_case(clock, shape, count, popularity, ranks, dtype, int8)
            yield measured
            ours = measured["seconds"]["ours"]
            rows.append(
                [
                    *(shape.name, count, measured["distinct"], ranks, "int8" if int8 else "", measured["nbytes"] >> 10),
                    *(measured["shown"].get(way, "") for way in LORA_WAYS),
                    f"{measured['nbytes'] / ours / copy:.0%}",
                ]
            )
    columns = ("linears", "rows", "adapters", "ranks", "", "KiB", *LORA_WAYS, "of copy")
    print(f"Low-rank updates, us\n\n{table(columns, rows)}\n")


def _lora_cases(options: argparse.Namespace) -> Iterator[tuple[int, str, str, bool]]:
    """`(rows, popularity, ranks, int8)`."""
    for count in options.rows:
        for popularity in options.popularity if count > 1 else ("identical",):
            yield count, popularity, "16", False
    most = max(options.rows)
    yield most, "distinct", MIXED, False
    yield most, "distinct", "16", True


def _lora_case(
    clock: Clock, shape: Shape, rows: int, popularity: str, ranks: str, dtype: torch.dtype, int8: bool
) -> dict[str, Any]:
    case = lora_case(shape, rows, popularity, RANKS[ranks], dtype, clock.device, int8=int8)
    expected, times = case.expected(), {}
    for name, way in lora_ways.lora_ways(case).items():
        lora_ways.check(case, name, way, expected)
        y = case.y.clone()
        times[name] = clock.time(partial(way, y))
    return {
        "linears": shape.name,
        "rows": rows,
        "popularity": popularity,
        "distinct": case.distinct,
        "ranks": ranks,
        "int8": int8,
        "nbytes": case.nbytes,
        "seconds": {name: time.seconds for name, time in times.items()},
        "shown": {name: str(time) for name, time in times.items()},
    }


def _linear(options: argparse.Namespace, clock: Clock, copy: float, dtype: torch.dtype) -> Iterator[dict[str, Any]]:
    """One dictionary for each form of each weight; the table is printed when all are there."""
    lines = []
    for shape in SHAPES[options.shape]:
        generator = torch.Generator().manual_seed(3)
        weight = torch.randn(shape.out_features, shape.in_features, generator=generator) / shape.in_features**0.5
        x = torch.randn(max(options.rows), shape.in_features, generator=generator).to(clock.device, dtype)
        for way in linear_ways.linear_ways(weight.to(clock.device, dtype)):
            linear_ways.check(way, x)
            times = {rows: clock.time(partial(way.call, x[:rows])) for rows in options.rows}
            yield {
                "linears": shape.name,
                "way": way.name,
                "nbytes": way.nbytes,
                "seconds": {rows: time.seconds for rows, time in times.items()},
            }
            of_row = (shape.in_features + shape.out_features) * dtype.itemsize
            shown = [f"{time} {(way.nbytes + rows * of_row) / time.seconds / copy:.0%}" for rows, time in times.items()]
            lines.append([shape.name, way.name, way.nbytes >> 20, *shown])
    columns = ("linears", "weight", "MiB", *(f"{rows} rows: us, of copy" for rows in options.rows))
    print(f"Linears of the base\n\n{table(columns, lines)}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--shape", default="llama-3.1-8b", choices=SHAPES)
    parser.add_argument("--part", nargs="+", default=["lora", "linear"], choices=("lora", "linear"))
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 8, 32, 64])
    parser.add_argument("--popularity", nargs="+", default=["identical", "zipf", "distinct"], choices=POPULARITIES)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser


if __name__ == "__main__":
    sys.exit(main())

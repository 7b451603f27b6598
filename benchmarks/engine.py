"""What adapters cost on one GPU: decode steps of the engine itself, beside what the bytes allow.

    python benchmarks/engine.py [--shape llama-3.1-8b] [--quantization int4] [--batch 1 8 32 64] [--context 1024]

Needs torch, Triton, numpy, transformers, safetensors and msgspec (one wheel: installed, or unpacked into a folder that
PYTHONPATH names); nothing of the server's HTTP side, and the project need not be installed. The model has random
weights, made on the device; the adapters, on all linears, are files in memory. A row of the table for each batch and
mode: an engine that never heard of adapters (off); with adapters in memory and none in use (none); with one adapter for
all rows, a Zipf choice of 100, all distinct, all distinct at ranks 8 to 64 (mixed), and every other row on the base
(beside: what those pay). "of bound" is what the bytes allow over what was measured; "longer by" is a step's time
against that of another mode, and in brackets what the bytes alone would cost. "same twice" computes a batch two times
and compares tokens and logprobs bit by bit. The last table: what a request waits longer for its first token because its
adapter lies in a file or in host memory. Rows are printed and kept, in benchmarks/results/, as they come; what fails
says so, the rest goes on, and the exit status is 1. `--device cpu --shape tiny` only shows that it runs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

try:
    import msgspec  # noqa: F401  # what the engine's messages are made of
except ImportError:
    sys.exit("benchmarks/engine.py needs the package msgspec (one wheel: pip install msgspec)")

import torch
from gpu.about import card
from gpu.clock import Clock
from gpu.cold import RESIDENT, cold_minus_warm, shown
from gpu.cores import answer_tokens
from gpu.decode_rows import COLUMNS, Batch, Served
from gpu.decoding import FORMATS, MIXED, MODES, Shelf, rates_of
from gpu.outcome import DeviceLostError, failed
from gpu.random_adapters import write_adapters
from gpu.random_model import random_model
from gpu.results import RESULTS, Results, end_on_term
from gpu.room import Wanted, fitted, room_for
from gpu.tables import Column, Table
from synthetic.named import named_shape
from synthetic.shapes import SHAPES

COLD_ADAPTERS = 2 * RESIDENT
COLD_COLUMNS = (
    *(Column("cold minus warm", 16), Column("p50, ms", 10), Column("p99, ms", 10), Column("last, ms", 10)),
    Column("requests"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    device = torch.device(options.device)
    end_on_term()
    results = Results("engine", device, options.results)
    print(f"writes {results.path}", flush=True)
    results.put("settings", {name: value for name, value in vars(options).items() if name != "results"})
    try:
        failures = _all(options, device, results)
    except Exception as error:  # a device that is lost, a model that does not fit: what there is stays
        results.put("error", failed(error).reason)
        print(f"ended early: {error}", file=sys.stderr)
        return 1
    results.finish()
    print(f"wrote {results.path}" + (f"; {failures} failed, and the file says why" if failures else ""))
    return 1 if failures else 0


def _all(options: argparse.Namespace, device: torch.device, results: Results) -> int:
    """How much of it failed."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    wanted = _wanted(options, dtype)
    room = room_for(wanted.nbytes)
    fitting = fitted(wanted, room.nbytes)
    if fitting != wanted:
        print(
            f"no folder has room for {wanted.nbytes >> 20} MiB of adapters, {room.folder} for {room.nbytes >> 20}: "
            f"batches {list(fitting.batches)} and modes {list(fitting.modes)} are all that is measured"
        )
    served = _served(options, device, dtype, fitting)
    results.put("rates", asdict(served.rates))
    results.put("adapters", {"folder": str(room.folder), "batches": fitting.batches, "modes": fitting.modes})
    rates = served.rates
    print(
        f"{card(device)}: a copy moves {rates.read_gb_s:.0f} GB/s, bfloat16 multiplies {rates.tflops['bfloat16']:.0f} "
        f"TFLOP/s; {options.shape} {options.quantization}, context {options.context}, adapters of rank {options.rank} "
        f"in {room.folder}\n"
    )
    with tempfile.TemporaryDirectory(prefix="loraplex-", dir=room.folder) as folder:
        shelf = _shelf(Path(folder), options.rank, served, fitting)
        failures, table = 0, Table(COLUMNS)
        for size in fitting.batches:
            for cells, kept in Batch(served, size, shelf.plan(fitting.modes, size)).measured():
                table.row(cells)
                results.add("decode", {"batch": size, **kept})
                failures += kept["failed"] is not None
        return failures + _cold(options, served, shelf, results)


def _wanted(options: argparse.Namespace, dtype: torch.dtype) -> Wanted:
    weights = named_shape(options.shape).adapter_weights
    mixed = sum(weights(rank) for rank in MIXED) * dtype.itemsize // len(MIXED)
    plain = weights(options.rank) * dtype.itemsize
    return Wanted(tuple(options.batch), tuple(options.modes), COLD_ADAPTERS, plain, mixed)


def _served(options: argparse.Namespace, device: torch.device, dtype: torch.dtype, wanted: Wanted) -> Served:
    in_all = options.steps * options.repeats
    longest = options.context + max(answer_tokens(batch, options.context, in_all) for batch in wanted.batches)
    rates = rates_of(Clock(device, repeats=20))
    model = random_model(options.shape, options.quantization, device, dtype, longest)
    how = (options.context, options.steps, options.repeats)
    return Served(model, device, dtype, options.shape, options.quantization, rates, *how)


def _shelf(folder: Path, rank: int, served: Served, wanted: Wanted) -> Shelf:
    config, mixed = served.model.config, [MIXED[number % len(MIXED)] for number in range(wanted.mixed)]
    plain = write_adapters(folder / "plain", config, [rank] * wanted.plain, served.device, served.dtype)
    return Shelf(plain, write_adapters(folder / "mixed", config, mixed, served.device, served.dtype), rank)


def _cold(options: argparse.Namespace, served: Served, shelf: Shelf, results: Results) -> int:
    """The last table; 1 where it failed."""
    print()
    table = Table(COLD_COLUMNS)
    adapters, nbytes = shelf.plain[:COLD_ADAPTERS], served.adapter_bytes([options.rank])
    of_device = (served.model, served.device, served.dtype)
    try:
        found: dict[str, Any] = cold_minus_warm(*of_device, adapters, nbytes, options.context, options.cold_rounds)
    except DeviceLostError:
        raise
    except Exception as error:  # the decode steps stay
        table.row(["", failed(error), "", "", ""])
        results.put("cold_minus_warm_failed", failed(error).reason)
        return 1
    for name, tier in (("from a file", "file"), ("from host memory", "host")):
        table.row([name, *shown(found[tier])])
    results.put("cold_minus_warm_s", found)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--shape", default="llama-3.1-8b", choices=SHAPES)
    parser.add_argument("--quantization", default="int4", choices=FORMATS)
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8, 32, 64])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=64, help="of one repeat")
    parser.add_argument("--repeats", type=int, default=3, help="that the median is of; an odd number")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--cold-rounds", type=int, default=20, help="through six adapters, of which three fit")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser


if __name__ == "__main__":
    sys.exit(main())

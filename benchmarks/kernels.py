"""The kernels on one GPU: time, bytes, and the fraction of what a copy moves, against the ways that others do it.

    python benchmarks/kernels.py [--part linear lora ...] [--shape llama-3.1-8b] [--rows 1 8 32 64]

Needs torch, Triton and numpy; the project need not be installed. Times are microseconds, the median of many replays of
a CUDA graph by the device's own events, over the calls in it, which take turns on inputs that no cache holds together
(gpu/clock.py); those with a star are launched by the host instead, because they wait for the device. "of copy" is the
bytes that must be moved, each once, over the time, as a fraction of what a large copy moves. Nothing is timed that is
wrong: what is wrong or fails is a cell that says so, the reason is in the file, the rest goes on, and the exit status
is 1. Rows are printed and kept, in benchmarks/results/, as they come. By default all parts but `long` (linears at 256
to 4096 rows). `--device cpu --shape tiny` only shows that it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from gpu.about import card
from gpu.attention_part import ATTENTION
from gpu.clock import Clock
from gpu.linear_part import LINEAR, LONG_LINEAR
from gpu.lora_part import LORA
from gpu.outcome import DeviceLostError, failed, lost_if_lost
from gpu.part import Part, Row, Setting
from gpu.results import RESULTS, Results, end_on_term
from gpu.sampling_part import SAMPLING
from gpu.shapes import SHAPES
from gpu.small_part import SMALL
from gpu.tables import Table

from loraplex_kernels.lora.workload import POPULARITIES

PARTS = {
    "linear": LINEAR,
    "lora": LORA,
    "attention": ATTENTION,
    "sampling": SAMPLING,
    "small": SMALL,
    "long": LONG_LINEAR,
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    device = torch.device(options.device)
    end_on_term()
    clock = Clock(device, options.repeats)
    results = Results("kernels", device, options.results)
    print(f"writes {results.path}")
    with torch.inference_mode():
        setting = _setting(options, clock, results)
        try:
            failures = sum(_run(name, PARTS[name], setting, results) for name in options.part)
        except DeviceLostError as error:
            results.put("lost", str(error))
            print(error, file=sys.stderr)
            return 1
    results.finish()
    print(f"wrote {results.path}" + (f"; {failures} failed, and the file says why" if failures else ""))
    return 1 if failures else 0


def _setting(options: argparse.Namespace, clock: Clock, results: Results) -> Setting:
    """With the rates that all else is held against, which are printed."""
    dtype = torch.bfloat16 if clock.device.type == "cuda" else torch.float32
    copy, launches = clock.copy_bytes_per_second(), clock.launches()
    results.put("copy_gb_s", copy / 1e9)
    results.put("settings", {"dtype": str(dtype), "shape": options.shape, "rows": options.rows})
    print(f"{card(clock.device)}: a copy moves {copy / 1e9:.0f} GB/s")
    if launches is not None:
        results.put("launches", {"in_graph_s": launches.in_graph_s, "replay_s": launches.replay_s})
        print(
            f"an empty launch takes {launches.in_graph_s * 1e6:.1f} us in a graph of many, "
            f"a graph of one {launches.replay_s * 1e6:.1f} us"
        )
    return Setting(clock, copy, dtype, options.shape, tuple(options.rows), tuple(options.popularity))


def _run(name: str, part: Part, setting: Setting, results: Results) -> int:
    """Print and keep one part; how many of its ways, or whole cases, failed."""
    print(f"\n{part.title}\n")
    columns, failures = part.columns(setting), 0
    table = Table(columns)
    for case in part.cases(setting):
        row = _row(part, setting, case, len(columns))
        table.row(row.cells)
        results.add(name, row.record)
        failures += len(row.record["failed"])
        if setting.device.type == "cuda":
            torch.cuda.empty_cache()  # each graph had memory of its own
    return failures


def _row(part: Part, setting: Setting, case: object, width: int) -> Row:
    try:
        return part.measure(setting, case)
    except DeviceLostError:
        raise
    except Exception as error:  # the next case may do better
        failure = failed(error)
    lost_if_lost(setting.device, failure)
    label = [str(cell) for cell in part.label(case)]
    cells = [*label, failure, *[""] * (width - len(label) - 1)]
    return Row(cells, {"case": label, "failed": {"case": failure.reason}})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--shape", default="llama-3.1-8b", choices=SHAPES)
    parser.add_argument("--part", nargs="+", default=[name for name in PARTS if name != "long"], choices=PARTS)
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 8, 32, 64])
    parser.add_argument("--popularity", nargs="+", default=["identical", "zipf", "distinct"], choices=POPULARITIES)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser


if __name__ == "__main__":
    sys.exit(main())

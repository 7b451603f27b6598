"""What adapters cost on one GPU: decode steps of the engine itself, beside what the bytes allow.

    python benchmarks/engine.py [--shape llama-3.1-8b] [--quantization int4] [--batch 1 8 32 64] [--context 1024]

The model has random weights, made on the device; the adapters, on all linears, lie in memory. For each batch: the
tokens a second without adapters and the fraction of the bound that this is; the LoRA tax, by how much longer a step
takes with one adapter for all rows, with a Zipf choice of 100, with all distinct, and with all distinct at ranks 8 to
64; the distinctness tax, distinct against one. In brackets is what the bytes alone would cost. Below: what a request
with 1024 tokens waits longer for its first token because its adapter lies in a file or in host memory. The whole
result is kept in benchmarks/results/. `--device cpu --shape tiny` only shows that it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from gpu.clock import Clock
from gpu.cold import RESIDENT, cold_minus_warm, shown
from gpu.cores import answer_tokens, decode_seconds, make_core
from gpu.decoding import FORMATS, MIXED, MODES, Shelf, bound_seconds, rates_of
from gpu.random_adapters import memory_folder, write_adapters
from gpu.random_model import random_model
from gpu.results import RESULTS, card, save, table
from synthetic.named import named_shape
from synthetic.shapes import SHAPES

from loraplex_server.bench.limits.rates import Rates
from loraplex_server.models.decoder import Decoder

COLD_ADAPTERS = 2 * RESIDENT


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    device = torch.device(options.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    rates = rates_of(Clock(device, repeats=20))
    longest = options.context + max(answer_tokens(batch, options.context, options.steps) for batch in options.batch)
    model = random_model(options.shape, options.quantization, device, dtype, longest)
    print(
        f"{card(device)}: a copy moves {rates.read_gb_s:.0f} GB/s, bfloat16 multiplies {rates.tflops['bfloat16']:.0f} "
        f"TFLOP/s; {options.shape} {options.quantization}, context {options.context}, adapters of rank {options.rank}\n"
    )
    with memory_folder() as folder:
        shelf = _adapters(Path(folder), options, model, device, dtype)
        batches = _decode(options, model, shelf, rates, device, dtype)
        nbytes = _adapter_bytes(options.shape, [options.rank], dtype)
        cold = cold_minus_warm(
            model, device, dtype, shelf.plain[:COLD_ADAPTERS], nbytes, options.context, options.cold_rounds
        )
    print(table(_COLUMNS, [_line(batch) for batch in batches]))
    print(f"\ncold minus warm first token: from a file {shown(cold['file'])}; from host memory {shown(cold['host'])}")
    settings = {name: value for name, value in vars(options).items() if name != "results"}
    result = {"settings": settings, "rates": asdict(rates), "batches": batches, "cold_minus_warm_s": cold}
    print(f"wrote {save('engine', device, result, options.results)}")
    return 0


def _adapters(
    folder: Path, options: argparse.Namespace, model: Decoder, device: torch.device, dtype: torch.dtype
) -> Shelf:
    most = max(*options.batch, COLD_ADAPTERS)
    mixed = [MIXED[number % len(MIXED)] for number in range(max(options.batch))] if "mixed" in options.modes else []
    plain = write_adapters(folder / "plain", model.config, [options.rank] * most, device, dtype)
    return Shelf(plain, write_adapters(folder / "mixed", model.config, mixed, device, dtype), options.rank)


def _adapter_bytes(shape: str, ranks: Sequence[int], dtype: torch.dtype) -> int:
    """Of adapters in memory, with room for the alignment of their tensors."""
    weights = sum(named_shape(shape).adapter_weights(rank) for rank in ranks) * dtype.itemsize
    return weights + len(ranks) * named_shape(shape).layers * 14 * 64


def _decode(
    options: argparse.Namespace, model: Decoder, shelf: Shelf, rates: Rates, device: torch.device, dtype: torch.dtype
) -> list[dict[str, Any]]:
    """Seconds of a step and its bound, for each batch and mode."""
    found = []
    shape = named_shape(options.shape)
    for batch in options.batch:
        modes: dict[str, Any] = {}
        plan = {mode: shelf.rows(mode, batch) for mode in MODES if mode in options.modes}
        room = max(_adapter_bytes(options.shape, rows.ranks, dtype) for rows in plan.values())
        length = options.context + answer_tokens(batch, options.context, options.steps)
        core = make_core(model, device, dtype, sequences=batch, length=length, adapter_bytes=room + (1 << 20))
        for mode, rows in plan.items():
            seconds = decode_seconds(core, options.context, rows.adapters, options.steps)
            bound = bound_seconds(shape, options.quantization, rates, rows, options.context)
            modes[mode] = {"seconds": seconds, "bound": bound, "distinct": len(rows.ranks)}
        core.store.close()
        found.append({"batch": batch, "modes": modes})
    return found


_COLUMNS = (
    *("batch", "none tok/s", "of bound", "one: tax", "zipf: tax", "distinct: tax", "mixed ranks: tax"),
    "distinct against one",
)


def _line(found: dict[str, Any]) -> list[str]:
    modes, batch = found["modes"], found["batch"]

    def tax(mode: str, against: str = "none") -> str:
        if mode not in modes or against not in modes:
            return ""
        measured, allowed = (modes[mode][key] / modes[against][key] - 1 for key in ("seconds", "bound"))
        return f"{measured:+.1%} ({allowed:+.1%})"

    none = modes.get("none")
    base = ("", "") if none is None else (f"{batch / none['seconds']:.0f}", f"{none['bound'] / none['seconds']:.0%}")
    return [str(batch), *base, *(tax(mode) for mode in MODES[1:]), tax("distinct", "one")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--shape", default="llama-3.1-8b", choices=SHAPES)
    parser.add_argument("--quantization", default="int4", choices=FORMATS)
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8, 32, 64])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=64, help="that are timed")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--cold-rounds", type=int, default=4, help="through six adapters, of which three fit")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser


if __name__ == "__main__":
    sys.exit(main())

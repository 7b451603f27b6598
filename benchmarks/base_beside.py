"""What requests without an adapter pay for adapters that others use, or that nobody does.

Two engines over one model take turns, a step each, so that drift of the machine hits both: one never heard of adapters,
the other has them in memory. First all rows of both are the base's; then some rows of the second use adapters.

    python benchmarks/base_beside.py MODEL
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from gpu.cores import drain, load, make_core, step, submit

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.source import AdapterSource
from loraplex_server.bench.load.counts import positive
from loraplex_server.engine.core import EngineCore
from loraplex_server.models.load import load_model

PROMPT = 64
ADAPTER_BYTES = 1 << 30


def start(core: EngineCore, rows: int, steps: int, adapters: list[AdapterSource]) -> None:
    """Rows that decode, the first of them with these adapters."""
    for row in range(rows):
        submit(core, f"row-{row}", PROMPT, steps + 1, adapters[row] if row < len(adapters) else None, seed=row)
    while any(sequence.num_output == 0 for request in core.requests.values() for sequence in request.sequences):
        step(core)


def ratio(without: EngineCore, beside: EngineCore, steps: int) -> tuple[float, float]:
    """Milliseconds of the first's median step, and by how much longer the second's is, as a share."""
    times: dict[EngineCore, list[float]] = {without: [], beside: []}
    for turn in range(steps):
        for core in (without, beside) if turn % 2 else (beside, without):
            begin = time.perf_counter()
            step(core)
            times[core].append(time.perf_counter() - begin)
    plain, more = (statistics.median(times[core]) for core in (without, beside))
    return plain * 1e3, more / plain - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", type=positive, default=32)
    parser.add_argument("--using", nargs="+", type=int, default=[0, 1, 4, 16], help="rows that use adapters")
    parser.add_argument("--steps", type=positive, default=24)
    parser.add_argument("--quantization", default="auto")
    options = parser.parse_args()
    device, dtype = torch.device("cpu"), torch.bfloat16
    model = load_model(str(options.model), device=device, dtype=dtype, quantization=options.quantization)
    catalog = Catalog(options.model / "adapters")
    adapters = [catalog.resolve(name) for name in catalog.names()[: options.rows]]
    # The prompts of those that start first are over last, when the others have answered for a while.
    length = PROMPT + 2 * options.steps + 2 * options.rows
    without, beside = (
        make_core(model, device, dtype, sequences=options.rows, length=length, adapter_bytes=ADAPTER_BYTES)
        for _ in range(2)
    )
    load(beside, adapters)
    for using in options.using:
        start(without, options.rows, options.steps, [])
        start(beside, options.rows, options.steps, adapters[:using])
        plain, more = ratio(without, beside, options.steps)
        drain(without)
        drain(beside)
        print(f"{options.rows} rows, {using} with adapters: {plain:.1f} ms a step without, {more:+.1%} beside")


if __name__ == "__main__":
    main()

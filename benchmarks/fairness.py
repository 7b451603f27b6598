"""What a flood by one tenant does to the time to first token of another.

Serves the demo with keys of two tenants of equal weight. The light one streams at its own modest rate, first alone and
then beside the other, which keeps fifty times as many requests asked for as are its part of the seats. For comparison
both come with keys of one tenant too: then they are served first come, first served.

    python benchmarks/fairness.py
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
from rich.table import Table
from serving.process import free_port, running
from sharing.keys import make_key
from sharing.load import Shape, flood, light

from loraplex_server.bench.load.counts import positive
from loraplex_server.bench.load.table import report_console

DEMO = Path(__file__).resolve().parents[1] / "examples" / "demo" / "base"
TIMES_ITS_SHARE = 50
TARGET = 1.5
MODES = ("alone", "beside", "one tenant")
PRACTICE_S = 3.0
SETTLE_S = 3.0  # for the flood to fill its part of the queue


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DEMO)
    parser.add_argument("--seats", type=positive, default=8, help="answers computed at once")
    parser.add_argument("--rate", type=float, default=2.0, help="of the light tenant, requests a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run")
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--light", type=positive, nargs=2, default=(512, 16), metavar=("PROMPT", "OUTPUT"))
    parser.add_argument("--flood", type=positive, nargs=2, default=(512, 64), metavar=("PROMPT", "OUTPUT"))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    return parser.parse_args(arguments)


async def run(
    options: argparse.Namespace, url: str, keys: tuple[str, str], mode: str, seconds: float, seed: int
) -> dict[str, float]:
    """One run: milliseconds to the light tenant's first tokens, and what the other was answered."""
    limits = httpx.Limits(max_connections=None)
    async with contextlib.AsyncExitStack() as stack:
        mine, other = [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=300, limits=limits, verify=False
                )
            )
            for key in keys
        ]
        at_once = TIMES_ITS_SHARE * options.seats // 2 if mode != "alone" else 0
        told = await stack.enter_async_context(flood(other, Shape(*options.flood), at_once, seed))
        await asyncio.sleep(SETTLE_S)
        answered = told.answered
        timed = await light(mine, Shape(*options.light), options.rate, seconds, seed)
        if not timed.first:
            raise RuntimeError("no request was sent: raise --rate or --seconds")
        p50, p95 = np.percentile(timed.first, [50, 95])
        return {
            "requests": timed.answered,
            "p50_ms": float(p50) * 1e3,
            "p95_ms": float(p95) * 1e3,
            "flood_answered": told.answered - answered,
            "flood_refused": told.refused,
        }


def measure(options: argparse.Namespace, folder: Path) -> dict[str, list[dict[str, float]]]:
    """All runs, by mode; the modes take turns, so that drift of the machine hits them all."""
    file, port = folder / "keys.sqlite", free_port()
    one, light_key, flood_key = [make_key(file, tenant) for tenant in ("one", "light", "flood")]
    command = [sys.executable, "-m", "loraplex_server.cli", "serve", str(options.model), "--port", str(port)]
    command += ["--keys", str(file), "--max-num-seqs", str(options.seats), "--threads", "1", "--no-request-log"]
    runs: dict[str, list[dict[str, float]]] = {mode: [] for mode in options.modes}
    with running(command, port, folder / "log") as server:
        for repeat in range(-1, options.repeats):
            for mode in options.modes:
                keys = (one, one) if mode == "one tenant" else (light_key, flood_key)
                practice = repeat < 0
                seconds = PRACTICE_S if practice else options.seconds
                found = asyncio.run(run(options, server.url, keys, mode, seconds, repeat))
                if not practice:
                    runs[mode].append(found)
                    print(mode, {name: round(value, 1) for name, value in found.items()}, file=sys.stderr)
    return runs


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where the other's flood costs more than the target allows."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        runs = measure(options, Path(folder))
    medians = {
        mode: {name: statistics.median(run[name] for run in found) for name in found[0]} for mode, found in runs.items()
    }
    table = Table("mode", "TTFT p50, ms", "p95, ms", "p95 of alone", "flood answered")
    alone = medians.get("alone", {}).get("p95_ms")
    for mode, found in medians.items():
        ratio = f"{found['p95_ms'] / alone:.2f}" if alone else ""
        cells = f"{found['p50_ms']:.1f}", f"{found['p95_ms']:.1f}", ratio, f"{found['flood_answered']:.0f}"
        table.add_row(mode, *cells)
    report_console().print(table)
    print(json.dumps({"runs": runs, "medians": medians}, indent=2))
    beside = medians.get("beside", {}).get("p95_ms")
    return int(bool(alone and beside and beside > TARGET * alone))


if __name__ == "__main__":
    sys.exit(main())

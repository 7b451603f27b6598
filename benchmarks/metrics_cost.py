"""What it costs a server to be scraped: processor time of the process that speaks HTTP, for one scrape.

    python benchmarks/metrics_cost.py [--adapters 100] [--rate 20] [--seconds 15] [--runs 3]

Serves the demo with as many adapters and tenants as asked for, each with series of its own, and a steady traffic of all
of them. Windows with scrapes and windows without take turns; the difference of the processor time that they took,
divided by the scrapes, is a scrape's; the same for `GET /version` is the price of any answer at all. It is processor
time, not time on a clock, so that who else uses the machine changes it less; but on a busy one caches are cold, and all
of it about twice as much. The second table is how long one rendering holds the event loop up, measured in this process:
when nothing is new but the engine's word, when as many requests ended as do in a quarter of a second, and when one of
each adapter and tenant did.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil
from rich.table import Table
from scraping.crowd import Crowd, copy_adapters, make_keys
from scraping.rendering import Rendering
from serving.process import ServerError, free_port, running

from loraplex_server.bench.load.counts import positive
from loraplex_server.bench.load.table import report_console

DEMO = Path(__file__).resolve().parents[1] / "examples" / "demo"
ADMIN = "the-admins-own-key"
TARGET_MS = 1.0
SETTLE_S = 1.0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", type=positive, default=100, help="and as many tenants")
    parser.add_argument("--rate", type=float, default=20.0, help="scrapes a second")
    parser.add_argument("--traffic", type=float, default=10.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each window")
    parser.add_argument("--runs", type=positive, default=3)
    return parser.parse_args(arguments)


async def ask(client: httpx.AsyncClient, path: str, rate: float, seconds: float) -> int:
    """So many times a second; the bytes of the last answer."""
    size, loop = 0, asyncio.get_running_loop()
    start = loop.time()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(start + number / rate - loop.time(), 0))
        answer = await client.get(path, headers={"authorization": f"Bearer {ADMIN}"})
        size = len(answer.raise_for_status().content)
    return size


class Window:
    """What a process took, and its traffic was answered, while the block ran."""

    def __init__(self, process: psutil.Process, crowd: Crowd) -> None:
        self._process, self._crowd = process, crowd
        self.cpu_s, self.requests = 0.0, 0

    def __enter__(self) -> Window:
        self._before = self._cpu_s(), self._crowd.answered
        return self

    def __exit__(self, *_: object) -> None:
        cpu_s, answered = self._before
        self.cpu_s, self.requests = self._cpu_s() - cpu_s, self._crowd.answered - answered

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system


async def measure(options: argparse.Namespace, url: str, pid: int, adapters: list[str]) -> list[dict[str, float]]:
    """Each run: a window of traffic alone, one with scrapes, and one with as many answers of a few bytes."""
    process, runs = psutil.Process(pid), []
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits, verify=False) as client:
        crowd = Crowd(client, adapters, await make_keys(client, ADMIN, len(adapters)))
        await crowd.one_round()
        for _ in range(options.runs):
            async with crowd.sending(options.traffic):
                await asyncio.sleep(SETTLE_S)
                with Window(process, crowd) as alone:
                    await asyncio.sleep(options.seconds)
                with Window(process, crowd) as scraped:
                    size = await ask(client, "/metrics", options.rate, options.seconds)
                with Window(process, crowd) as asked:
                    await ask(client, "/version", options.rate, options.seconds)

            def cost_ms(window: Window, alone: Window = alone) -> float:
                """Beyond what the requests of this window take by themselves."""
                own_s = alone.cpu_s * window.requests / alone.requests
                return (window.cpu_s - own_s) / round(options.rate * options.seconds) * 1e3

            runs.append(
                {
                    "cpu_ms_per_scrape": cost_ms(scraped),
                    "cpu_ms_per_version": cost_ms(asked),
                    "cpu_ms_per_request": alone.cpu_s / alone.requests * 1e3,
                    "bytes": size,
                }
            )
            print({name: round(value, 3) for name, value in runs[-1].items()}, file=sys.stderr)
    return runs


def serve(options: argparse.Namespace, folder: Path) -> list[dict[str, float]]:
    """All runs, against a server of their own."""
    port = free_port()
    adapters = copy_adapters(DEMO / "adapters", folder / "adapters", options.adapters)
    command = [sys.executable, "-m", "loraplex_server.cli", "serve", str(DEMO / "base"), "--port", str(port)]
    command += ["--adapters", str(folder / "adapters"), "--state-dir", str(folder / "state"), "--admin-key", ADMIN]
    command += ["--threads", "1", "--no-request-log"]
    with running(command, port, folder / "log") as server:
        if server.pid is None:
            raise ServerError("the server's process is not known")
        return asyncio.run(measure(options, server.url, server.pid, adapters))


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where a scrape costs more than the target; 2 where there was no server."""
    options = parse(arguments)
    console = report_console()
    try:
        with tempfile.TemporaryDirectory() as folder:
            runs = serve(options, Path(folder))
    except ServerError as error:
        console.print(f"metrics_cost.py: {error}", style="red", markup=False)
        return 2
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    table = Table("", "median", *(f"run {number + 1}" for number in range(len(runs))))
    for name, median in medians.items():
        table.add_row(name, f"{median:.3f}", *(f"{run[name]:.3f}" for run in runs))
    console.print(table)
    held = Rendering(options.adapters).times()
    table = Table("event loop held up by what is new, ms", "p50", "worst of 100")
    for name, (middle, worst) in held.items():
        table.add_row(name, f"{middle:.2f}", f"{worst:.2f}")
    console.print(table)
    print(json.dumps({"runs": runs, "medians": medians, "held_ms": held}, indent=2))
    return int(medians["cpu_ms_per_scrape"] > TARGET_MS)


if __name__ == "__main__":
    sys.exit(main())

"""What loading cold adapters does to the streams that run meanwhile: gaps between their tokens, idle, warm and cold.

Starts a server, lets some streams of the base run, and sends short requests beside them, one every 200 ms: first none,
then for adapters that are not in memory, then for the same ones, which now are. Warm requests cost the streams what any
further request does; the difference between cold and warm is what the loads cost. Each name is an adapter of its own to
the server, but the bytes are those of a few files, so the disk's speed is not part of it.

    python benchmarks/cold_adapter.py --model MODEL --adapters MODEL/adapters
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx
from serving.process import free_port, running

STREAM_TOKENS = 400


async def stream(client: httpx.AsyncClient, url: str, times: list[float]) -> None:
    body = {"model": "base", "prompt": [1, 2, 3, 4], "max_tokens": STREAM_TOKENS, "ignore_eos": True, "stream": True}
    async with client.stream("POST", f"{url}/v1/completions", json={**body, "temperature": 0}) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                times.append(time.perf_counter())  # noqa: PERF401  # the list is read while it grows


async def short(client: httpx.AsyncClient, url: str, name: str) -> float:
    body = {"model": name, "prompt": [5, 6, 7, 8], "max_tokens": 1, "temperature": 0}
    start = time.perf_counter()
    (await client.post(f"{url}/v1/completions", json=body)).raise_for_status()
    return time.perf_counter() - start


async def shorts(client: httpx.AsyncClient, url: str, names: list[str], every: float) -> list[float]:
    """One request for each name, `every` so many seconds whether or not the last one was answered."""
    tasks = []
    for name in names:
        tasks.append(asyncio.create_task(short(client, url, name)))
        await asyncio.sleep(every)
    return await asyncio.gather(*tasks)


async def phase(url: str, streams: int, names: list[str], every: float) -> dict[str, float]:
    """Gaps of the streams while short requests go to `names`."""
    async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=None)) as client:
        times: list[list[float]] = [[] for _ in range(streams)]
        tasks = [asyncio.create_task(stream(client, url, each)) for each in times]
        while not all(len(each) > 3 for each in times):  # noqa: ASYNC110  # once, before anything is measured
            await asyncio.sleep(0.02)
        start = time.perf_counter()
        took = await shorts(client, url, names, every)
        end = time.perf_counter() if names else float("inf")
        if names:
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    gaps = sorted(b - a for each in times for a, b in itertools.pairwise(each) if start <= a and b <= end)
    return {
        "gaps": len(gaps),
        "over_twice": sum(gap > 2 * statistics.median(gaps) for gap in gaps) / len(gaps),
        "median_ms": 1e3 * statistics.median(gaps),
        "p99_ms": 1e3 * gaps[int(0.99 * len(gaps))],
        "max_ms": 1e3 * gaps[-1],
        "request_ms": 1e3 * statistics.median(took) if took else 0.0,
    }


def link_adapters(source: Path, folder: Path, count: int) -> list[str]:
    """So many names over the files of the adapters in `source`."""
    files = sorted(path for path in source.iterdir() if path.is_dir())
    names = []
    for number in range(count):
        name = f"cold-{number:03}"
        shutil.copytree(files[number % len(files)], folder / name, copy_function=os.link)
        names.append(name)
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--adapters", type=Path, required=True)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--loads", type=int, default=60)
    parser.add_argument("--every", type=float, default=0.2, help="seconds from one load to the next")
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    results = {}
    port = free_port()
    command = [sys.executable, "-m", "loraplex_server.cli", "serve", str(options.model), "--port", str(port)]
    # Room for all of them, so that nothing but loading is measured.
    size = max(path.stat().st_size for path in options.adapters.glob("*/adapter_model.safetensors"))
    command += [
        "--dtype",
        options.dtype,
        "--max-model-len",
        "1024",
        "--adapter-memory",
        str(size * (options.loads + 1)),
    ]
    # Beside the adapters: a link does not cross file systems.
    with tempfile.TemporaryDirectory(dir=options.adapters.parent) as folder:
        names = link_adapters(options.adapters, Path(folder) / "adapters", options.loads)
        command += ["--adapters", str(Path(folder) / "adapters")]
        with running(command, port, Path(folder) / "log") as server:
            results["idle"] = asyncio.run(phase(server.url, options.streams, [], options.every))
            results["cold"] = asyncio.run(phase(server.url, options.streams, names, options.every))
            results["warm"] = asyncio.run(phase(server.url, options.streams, names, options.every))
    print(f"{'':6}{'median':>10}{'p99':>10}{'max':>10}   over twice the median   short request, median")
    for name, each in results.items():
        print(
            f"{name:6}{each['median_ms']:8.1f}ms{each['p99_ms']:8.1f}ms{each['max_ms']:8.1f}ms"
            f"{each['over_twice']:21.2%}   {each['request_ms']:15.1f}ms"
        )
    for name in ("idle", "warm"):
        print(f"p99 with loads is {results['cold']['p99_ms'] / results[name]['p99_ms']:.2f} of {name}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()

"""What Ray Serve costs a request: the bundled demo behind it, with one replica, beside the plain server.

    python benchmarks/ray_overhead.py [--requests 200] [--concurrency 8] [--runs 3]

Both run at once and take turns, so that drift of the machine hits both. One table: milliseconds to the first token and
for the whole of a short stream, one request at a time; and requests a second of many clients. On a machine of few cores
Ray's own processes compete with the engine, which the last figure shows too. Only the ratios are worth quoting.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import yaml
from rich.console import Console
from rich.table import Table
from serving.process import ROOT, ServerError, free_port, own_environment, running

BODY = {"model": "upper", "prompt": "jasmine", "max_tokens": 8, "ignore_eos": True, "temperature": 0, "stream": True}
PLAIN, BEHIND = "plain server", "Ray Serve"


def main(arguments: list[str] | None = None) -> int:
    """0; 2 where a server does not start."""
    parser = argparse.ArgumentParser(prog="ray_overhead.py", description=__doc__.partition("\n")[0])
    for name, count in (("requests", 200), ("concurrency", 8), ("runs", 3)):
        parser.add_argument(f"--{name}", type=int, default=count)
    options = parser.parse_args(arguments)
    ports = {PLAIN: free_port(), BEHIND: free_port()}
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        place = Path(folder)
        plain = [sys.executable, "-m", "loraplex_server.cli", "demo", "--port", str(ports[PLAIN]), *_flags(_args())]
        ray = [sys.executable, "-m", "ray.serve.scripts", "run", str(_config(place, ports[BEHIND]))]
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
        try:
            with (
                running(plain, ports[PLAIN], place / "plain.log"),
                running(ray, ports[BEHIND], place / "ray.log", environment=own_environment() | token),
            ):
                found = asyncio.run(
                    _measured(options, {name: f"http://127.0.0.1:{port}" for name, port in ports.items()})
                )
        except ServerError as error:
            print(f"ray_overhead.py: {error}", file=sys.stderr)
            return 2
    _print(found)
    return 0


def _args() -> dict[str, Any]:
    """Of the shipped config: both serve with the same settings."""
    read = yaml.safe_load((ROOT / "deploy" / "ray" / "demo.yaml").read_text())
    return dict(read["applications"][0]["args"]) | {"request_log": False}


def _flags(args: dict[str, Any]) -> list[str]:
    told = [(name.replace("_", "-"), value) for name, value in args.items() if name != "demo"]
    return [f"--no-{name}" if value is False else f"--{name}={value}" for name, value in told]


def _config(folder: Path, port: int) -> Path:
    """The shipped one with one replica."""
    read = yaml.safe_load((ROOT / "deploy" / "ray" / "demo.yaml").read_text())
    read["http_options"]["port"] = port
    read["applications"][0]["args"] = _args()
    read["applications"][0]["deployments"][0]["num_replicas"] = 1
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump(read))
    return path


async def _measured(options: argparse.Namespace, urls: dict[str, str]) -> dict[str, list[tuple[float, float, float]]]:
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in urls}
    for run in range(-1, options.runs):
        for name, url in urls.items():
            # Each time anew: a connection that was idle while the other had its turn may just be closing.
            async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=None)) as client:
                each = [await _ask(client, url) for _ in range(options.requests // 4)]
                rate = await _rate(client, url, options.requests, options.concurrency)
            if run >= 0:
                first, whole = (statistics.median(times) for times in zip(*each, strict=True))
                found[name].append((first * 1000, whole * 1000, rate))
    return found


async def _ask(client: httpx.AsyncClient, url: str) -> tuple[float, float]:
    """Seconds to the first event, and to the end."""
    begin, first = time.perf_counter(), 0.0
    async with client.stream("POST", url + "/v1/completions", json=BODY) as answer:
        text = b""
        async for part in answer.aiter_bytes():
            first = first or time.perf_counter() - begin
            text += part
    if not text.endswith(b"data: [DONE]\n\n"):
        raise RuntimeError(f"no whole answer: {json.dumps(text.decode()[-200:])}")
    return first, time.perf_counter() - begin


async def _rate(client: httpx.AsyncClient, url: str, requests: int, concurrency: int) -> float:
    left = iter(range(requests))

    async def one() -> None:
        for _ in left:
            await _ask(client, url)

    begin = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(concurrency)))
    return requests / (time.perf_counter() - begin)


def _print(found: dict[str, list[tuple[float, float, float]]]) -> None:
    table = Table(title="eight tokens, streamed; medians")
    for header in ("", "first token, ms", "whole, ms", "requests a second"):
        table.add_column(header, justify="right")
    rows = {name: [statistics.median(values) for values in zip(*runs, strict=True)] for name, runs in found.items()}
    for name, row in rows.items():
        table.add_row(name, *(f"{value:.1f}" for value in row))
    table.add_row("ratio", *(f"{there / here:.2f}" for here, there in zip(rows[PLAIN], rows[BEHIND], strict=True)))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())

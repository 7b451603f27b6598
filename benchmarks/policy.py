"""How a step should be filled: latencies and throughput of scheduling policies, on a clock of their own.

Times steps of a real engine, fits what a step costs to them, and serves Poisson arrivals of prompts and answers of
log-normal lengths with the server's own scheduler, and with variants of it, while a clock moves by each step's cost. So
policies are compared on the same arrivals, without noise, and in seconds instead of hours.

    python benchmarks/policy.py MODEL
    python benchmarks/policy.py --cost 0.034,0.00113,0,0.0002
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from scheduling.cost import Cost, calibrate, fit
from scheduling.policies import BLOCK, POLICIES
from scheduling.simulate import Arrival, Outcome, simulate

from loraplex_server.bench.load.arrivals import arrival_times
from loraplex_server.bench.load.counts import not_negative, positive
from loraplex_server.bench.load.lengths import parse_lengths
from loraplex_server.bench.load.table import report_console
from loraplex_server.engine.build import build_engine
from loraplex_server.engine.config import EngineConfig


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, help="a folder, to time steps of")
    parser.add_argument("--cost", metavar="STEP,TOKEN,PAIR,CHOICE", help="seconds, in place of timing")
    parser.add_argument("--quantization", default="auto")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--requests", type=positive, default=400)
    parser.add_argument("--sequences", type=positive, default=32, help="at once")
    parser.add_argument("--kv-tokens", type=positive, default=34128)
    parser.add_argument("--prompt", type=parse_lengths, default="lognormal:256,0.9,16-2048")
    parser.add_argument("--output", type=parse_lengths, default="lognormal:64,0.7,8-256")
    parser.add_argument("--shared", type=not_negative, default=0, help="tokens that all begin with, on top")
    parser.add_argument("--loads", nargs="+", type=float, default=[0.5, 0.8], help="shares of what can be served")
    parser.add_argument("--tokens", nargs="+", type=positive, default=[128, 256, 512, 1024, 2048], help="a step, most")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if (options.model is None) == (options.cost is None):
        parser.error("give one of MODEL and --cost")
    return options


def cost_of(options: argparse.Namespace) -> Cost:
    """Given, or found by timing."""
    if options.cost is not None:
        return Cost(*map(float, options.cost.split(",")))
    config = EngineConfig(
        model=str(options.model),
        dtype=options.dtype,
        quantization=options.quantization,
        kv_cache_memory=400 << 20,
        max_num_batched_tokens=2048,
        enable_prefix_caching=False,
        device="cpu",
    )
    timed = calibrate(build_engine(config, wake=lambda: None)[0])
    cost = fit(timed)
    for content, seconds in timed:
        print(f"{asdict(content)}: {seconds * 1e3:.1f} ms, fitted {cost.of(content) * 1e3:.1f}", file=sys.stderr)
    return cost


def arrivals(options: argparse.Namespace, rate: float | None) -> list[Arrival]:
    """The same prompts and answers at any rate; None: all at once."""
    rng = np.random.default_rng(options.seed)
    prompts, outputs = (lengths.draw(options.requests, rng) for lengths in (options.prompt, options.output))
    gaps = np.asarray(arrival_times(1.0, 1.0, options.requests, rng))
    times = [0.0] * options.requests if rate is None else (gaps / rate).tolist()
    tokens = rng.integers(0, 1 << 17, sum(prompts)).tolist()
    shared = rng.integers(0, 1 << 17, options.shared).tolist()
    ends = np.cumsum(prompts).tolist()
    return [
        Arrival(at, shared + tokens[end - length : end], output)
        for at, end, length, output in zip(times, ends, prompts, outputs, strict=True)
    ]


def run(options: argparse.Namespace, policy: str, tokens: int, rate: float | None, cost: Cost) -> Outcome:
    scheduler = POLICIES[policy](options.kv_tokens // BLOCK, options.sequences, tokens)
    return simulate(arrivals(options, rate), scheduler, cost)


def line(policy: str, tokens: int, load: str, outcome: Outcome) -> dict[str, Any]:
    ttft, itl = outcome.ttft, outcome.itl
    if ttft is None or itl is None:
        raise ValueError("--output: answers of one token have no gaps")
    return {
        "load": load,
        "policy": policy,
        "tokens": tokens,
        "ttft_p50": ttft.p50,
        "ttft_p99": ttft.p99,
        "gap_p50": itl.p50,
        "gap_p99": itl.p99,
        "tok_s": round(outcome.rate, 1),
        "cached": outcome.cached,
        "preemptions": outcome.preemptions,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    cost, console = cost_of(options), report_console()
    most = run(options, next(iter(POLICIES)), 512, None, cost)
    capacity = options.requests / most.seconds
    console.print(f"{asdict(cost)}; all at once, 512 tokens a step: {most.rate:.1f} tok/s, {capacity:.2f} requests/s")
    lines = [
        line(policy, tokens, "all at once" if load is None else f"{load:.0%}", outcome)
        for load in [*options.loads, None]
        for policy in POLICIES
        for tokens in options.tokens
        for outcome in [run(options, policy, tokens, None if load is None else load * capacity, cost)]
    ]
    table = Table(*lines[0])
    for each in lines:
        table.add_row(*map(str, each.values()))
    console.print(table)
    print(json.dumps({"cost": asdict(cost), "requests_s": capacity, "lines": lines}))


if __name__ == "__main__":
    main()

"""How many requests find their adapter in memory, and how many bytes are read, under this and other policies.

Pure simulation over the server's own residency and host tier: no model, no files, the same figures on any machine.

    python benchmarks/adapter_cache.py
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence

import numpy as np
from caching.bound import fewest_bytes, most_hits
from caching.policies import Clairvoyant, Gdsf, Lru
from caching.simulate import Simulation
from caching.traces import sizes, traces
from rich.table import Table

from loraplex_adapters.policy import FIXED_COST, Policy, Popularity
from loraplex_server.bench.load.table import report_console

# Device and host budget in adapters of mean size, and requests at once.
PLACES = ((20, 0, 8), (20, 0, 32), (100, 0, 32), (20, 80, 8), (20, 100, 32))
Make = Callable[[Sequence[int], Sequence[int]], Policy[int]]
POLICIES: dict[str, Make] = {
    "LRU": lambda trace, sizes: Lru(),
    "GDSF": lambda trace, sizes: Gdsf(sizes, FIXED_COST),
    "served": lambda trace, sizes: Popularity(),
    "Belady": lambda trace, sizes: Clairvoyant(trace, FIXED_COST),
}


def rows(options: argparse.Namespace) -> list[dict[str, object]]:
    """A line for each place, trace and policy."""
    bytes_of = sizes(options.adapters, options.bytes_per_rank, np.random.default_rng(options.seed))
    mean = sum(bytes_of) / len(bytes_of)
    found: list[dict[str, object]] = []
    for device, host, concurrent in PLACES:
        budget, host_budget = int(device * mean), int(host * mean)
        for name, trace in traces(options.adapters, options.requests, options.zipf, options.seed).items():
            place = {"device": device, "host": host, "concurrent": concurrent, "trace": name}
            for policy, make in POLICIES.items():
                simulation = Simulation(
                    trace, bytes_of, budget, host_budget, make(trace, bytes_of), concurrent, options.seed
                )
                found.append({**place, "policy": policy, **vars(simulation.run())})
            both = budget + host_budget
            best = {"hits": most_hits(trace, bytes_of, both), "host_hits": 0.0, "lifted": 0}
            found.append({**place, "policy": "bound", **best, "moved": fewest_bytes(trace, bytes_of, both)})
    return found


def print_table(found: Sequence[dict[str, object]]) -> None:
    """Hit rate in either tier, and gigabytes read from disk."""
    names = list(dict.fromkeys(str(row["trace"]) for row in found))
    table = Table("device", "host", "at once", "policy", *(f"{name}: hits, GB read" for name in names))
    cells: dict[tuple[str, ...], list[str]] = {}
    for row in found:
        key = tuple(str(row[field]) for field in ("device", "host", "concurrent", "policy"))
        hits = float(str(row["hits"])) + float(str(row["host_hits"]))
        cells.setdefault(key, []).append(f"{100 * hits:5.1f} % {int(str(row['moved'])) / 1e9:7.0f}")
    for key, values in cells.items():
        table.add_row(*key, *values, end_section=key[-1] == "bound")
    report_console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--zipf", type=float, default=1.0, help="exponent of the popularity")
    parser.add_argument(
        "--bytes-per-rank", type=int, default=1_100_000, help="default: all linears of Qwen2.5-0.5B in bfloat16"
    )
    parser.add_argument("--seed", type=int, default=0)
    found = rows(parser.parse_args())
    print_table(found)
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()

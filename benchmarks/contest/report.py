"""The comparison as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from contest.bounds import decode_of_bound, of_bound, served
from contest.rows import ROWS, Row
from loraplex_server.bench.limits.bound import Served
from loraplex_server.bench.limits.model import ModelShape

Servers = Mapping[str, Mapping[str, Any]]
Share = Callable[[Row, Mapping[str, Any], Served], float | None]


def markdown(content: Mapping[str, Any], model: ModelShape, rank: int) -> str:
    """End to end, decode alone, and what the machine was like; ours with `x best peer, % of its bound`.

    Args:
        content: of a `Record`.
        model: the shape that was served.
        rank: of the adapters.
    """
    servers: Servers = content["servers"]
    machine, runs = content["about"]["machine"], content["settings"]["runs"]
    measured = [name for name in ROWS if any(name in server["rows"] for server in servers.values())]
    decoded = [name for name in measured if not ROWS[name].first_token]
    of = f"{content['settings']['shape']} shape, adapters of rank {rank}; {machine['cpu']}, {machine['cores']} cores"
    parts = [
        f"Output tok/s end to end ({of}; medians of {runs})",
        _table(servers, measured, "figure", of_bound, model, rank),
        "Decode alone, tok/s while all requests are past their first token",
        _table(servers, decoded, "steady_decode_tok_s", decode_of_bound, model, rank),
        "Each server's machine and spread",
        _machine(servers),
    ]
    return "\n\n".join(parts) + "\n"


def best_peer(servers: Servers, row: str, key: str) -> float | None:
    """The best of the peers' figures of a row."""
    values = [
        float(server["rows"][row][key])
        for server in servers.values()
        if server["peer"] and row in server["rows"] and server["rows"][row][key] is not None
    ]
    if not values:
        return None
    return min(values) if ROWS[row].first_token else max(values)


def _table(servers: Servers, rows: Sequence[str], key: str, share: Share, model: ModelShape, rank: int) -> str:
    lines = [_line(["", *(server["label"] for server in servers.values())]), _line(["---"] * (1 + len(servers)))]
    for name in rows:
        row = ROWS[name]
        best = best_peer(servers, name, key)
        cells = [_cell(row, server, name, key, best, share, model, rank) for server in servers.values()]
        lines.append(_line([row.title + (", ms" if row.first_token else ""), *cells]))
    return "\n".join(lines)


def _cell(
    row: Row,
    server: Mapping[str, Any],
    name: str,
    key: str,
    best: float | None,
    share: Share,
    model: ModelShape,
    rank: int,
) -> str:
    result = server["rows"].get(name)
    if result is None or result[key] is None:
        return "–"
    value = float(result[key])
    shown = f"{value:.0f}" if value >= 1000 else f"{value:.1f}"
    if server["peer"]:
        return shown
    fraction = share(row, result, served(model, server, result, rank))
    notes = [] if best is None else [f"{row.better(value, best):.2f} × best peer"]
    notes += [] if fraction is None else [f"{fraction:.0%} of bound"]
    return f"**{shown}** ({', '.join(notes)})" if notes else f"**{shown}**"


def _machine(servers: Servers) -> str:
    lines = [
        _line(["", "read GB/s", "product T/s: bf16", "int8", "others, cores (most)", "largest spread", "peak MB"]),
        _line(["---"] * 7),
    ]
    for server in servers.values():
        results = list(server["rows"].values())
        spreads = [result["spread"] for result in results if result["spread"] is not None]
        lines.append(
            _line(
                [
                    server["label"],
                    _range([result["rates"]["read_gb_s"] for result in results]),
                    _range([result["rates"]["tflops"]["bfloat16"] for result in results]),
                    _range([result["rates"]["tflops"]["int8"] for result in results]),
                    f"{max(result['others_cores'] for result in results):.2f}",
                    f"{max(spreads):.0%}" if spreads else "–",
                    f"{max(sum(result['peak_rss_mb'].values()) for result in results):.0f}",
                ]
            )
        )
    return "\n".join(lines)


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

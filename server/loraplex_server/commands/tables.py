"""Adapters as tables for people."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from loraplex_server.settings.quantity import format_bytes

STYLES = {"device": "green", "host": "cyan", "loading": "yellow", "error": "red"}


def adapter_list(adapters: Sequence[Mapping[str, Any]], now: float | None = None) -> Table:
    """One line for each."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("memory", justify="right", no_wrap=True)
    table.add_column("in flight", justify="right")
    table.add_column("last used", no_wrap=True)
    table.add_column("pinned")
    table.add_column("generation", no_wrap=True)
    table.add_column("aliases", overflow="fold")
    for adapter in adapters:
        table.add_row(
            Text(adapter["name"], style="bold"),
            Text(adapter["state"], style=STYLES.get(adapter["state"], "")),
            _size(adapter["memory_bytes"]),
            str(adapter["in_flight"]),
            _ago(adapter["last_used"], now),
            "yes" if adapter["pinned"] else "",
            adapter["generation_short"] or "",
            Text(", ".join(adapter["aliases"])),
        )
    return table


def adapter_facts(adapter: Mapping[str, Any], now: float | None = None) -> Table:
    """Everything about one."""
    source = adapter["source"]
    facts = {
        "name": adapter["name"],
        "aliases": ", ".join(adapter["aliases"]),
        "state": adapter["state"],
        "tier": adapter["tier"] or "",
        "pinned": "yes" if adapter["pinned"] else "no",
        "source": f"{source['kind']} {source.get('location') or ''}".strip(),
        "generation": adapter["generation"] or "",
        "on disk": _size(adapter["disk_bytes"]),
        "in memory": _size(adapter["memory_bytes"]),
        "in flight": str(adapter["in_flight"]),
        "last used": _ago(adapter["last_used"], now),
        "created": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(adapter["created"])),
        "error": adapter["error"] or "",
    }
    return fact_table(facts)


def fact_table(facts: Mapping[str, str]) -> Table:
    """Names and values; what is empty is left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            table.add_row(name, Text(value))
    return table


def _size(nbytes: int | None) -> str:
    return "" if nbytes is None else format_bytes(nbytes)


def _ago(moment: float | None, now: float | None) -> str:
    if moment is None:
        return ""
    seconds = max((time.time() if now is None else now) - moment, 0.0)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"

"""Keys as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from loraplex_server.tenants.moment import shown

STYLES = {"active": "green", "expired": "yellow", "revoked": "red"}
_MOMENTS = ("created", "expires", "revoked")


def key_list(keys: Sequence[Mapping[str, Any]]) -> Table:
    """One line for each."""
    table = Table(box=box.SIMPLE_HEAD)
    for header in ("id", "tenant", "state", "adapters", "limits", "share", "expires"):
        table.add_column(header, overflow="fold", no_wrap=header not in ("tenant", "adapters"))
    for key in keys:
        tenant = f"{key['tenant']}\n({key['name']})" if key["name"] else key["tenant"]
        state = Text(key["state"], style=STYLES[key["state"]])
        expires = shown(key["expires"]).partition(" ")[0] if key["expires"] is not None else ""
        table.add_row(Text(key["id"]), Text(tenant), state, _adapters(key), _limits(key), _share(key), expires)
    return table


def key_facts(key: Mapping[str, Any]) -> Table:
    """One line for each thing that is known."""
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in key.items():
        if name == "object" or value in (None, ""):
            continue
        text = shown(value) if name in _MOMENTS else str(value)
        table.add_row(name.replace("_", " "), _adapters(key) if name == "adapters" else Text(text))
    return table


def made_key(
    secret: str, key: Mapping[str, Any] | None = None, item: Mapping[str, Any] | None = None
) -> RenderableType:
    """A new key: itself, then what it gives, or the item that stands for it in a YAML file."""
    told = Text("Keep this key; it is not shown again.", style="yellow")
    parts: list[RenderableType] = [Text(secret, style="bold"), told]
    if key is not None:
        parts.append(key_facts(key))
    if item is not None:
        parts.append(Text(yaml.safe_dump([dict(item)], sort_keys=False).rstrip()))
    return Group(*parts)


def _limits(key: Mapping[str, Any]) -> str:
    named = {"requests_per_minute": "rpm", "tokens_per_minute": "tpm", "concurrency": "at once"}
    return "\n".join(f"{key[name]:,} {shown}" for name, shown in named.items() if key[name] is not None)


def _share(key: Mapping[str, Any]) -> str:
    weight = "" if key["weight"] == 1 else f"weight {key['weight']:g}"
    priority = "" if key["priority"] == 0 else f"priority {key['priority']}"
    return "\n".join(part for part in (weight, priority) if part)


def _adapters(key: Mapping[str, Any]) -> Text:
    return Text("all; administers" if key["admin"] else ", ".join(key["adapters"]))

"""Fields that only some servers know, from --extra."""

from __future__ import annotations

from typing import Any

MARK = "{i}"


def extra_fields(extra: dict[str, Any], adapter: int | None) -> dict[str, Any]:
    """`extra` with the adapter's index in place of `{i}`.

    A string that is `{i}` and nothing else becomes a number, as llama.cpp wants its adapters' ids. A request to the
    base model has no index: the top-level fields that mention `{i}` are left out of it.
    """
    if adapter is None:
        return {name: value for name, value in extra.items() if not _mentions(value)}
    return {name: _filled(value, adapter) for name, value in extra.items()}


def _filled(value: Any, adapter: int) -> Any:
    if isinstance(value, str):
        return adapter if value == MARK else value.replace(MARK, str(adapter))
    if isinstance(value, list):
        return [_filled(item, adapter) for item in value]
    if isinstance(value, dict):
        return {name: _filled(item, adapter) for name, item in value.items()}
    return value


def _mentions(value: Any) -> bool:
    if isinstance(value, str):
        return MARK in value
    if isinstance(value, list):
        return any(_mentions(item) for item in value)
    return isinstance(value, dict) and any(_mentions(item) for item in value.values())

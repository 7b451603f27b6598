"""One option: its default and range, and what `--help` shows of it."""

from __future__ import annotations

from typing import Any

from pydantic import Field, JsonValue


def option(default: Any, group: str, metavar: str, help_text: str, **limits: Any) -> Any:
    """A field of the settings. Args: group, metavar, help_text: in the help. limits: as pydantic's."""
    shown: dict[str, JsonValue] = {"group": group, "metavar": metavar}
    return Field(default, description=help_text, json_schema_extra=shown, validate_default=False, **limits)

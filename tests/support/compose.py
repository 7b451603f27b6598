"""docker compose's file, as compose reads it: variables put in, anchors followed, one service as a container."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from support.containers import Shape
from support.servers import ROOT

FOLDER = ROOT / "deploy" / "compose"
FILE = FOLDER / "docker-compose.yaml"
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<kind>:[-+])(?P<word>[^}]*))?\}")


def read_compose(path: Path = FILE, **variables: str) -> dict[str, Any]:
    """Its content, with `${NAME}`, `${NAME:-default}` and `${NAME:+instead}` put in as the specification has it."""
    return _filled(yaml.safe_load(path.read_text(encoding="utf-8")), variables)


def fill(text: str, variables: Mapping[str, str]) -> str:
    """One string with its variables put in."""

    def value(found: re.Match[str]) -> str:
        told, word = variables.get(found["name"], ""), found["word"] or ""
        if found["kind"] == ":+":
            return word if told else ""
        return told or word

    return _VARIABLE.sub(value, text)


def shape_of(service: Mapping[str, Any], folder: Path) -> Shape:
    """A service as runc runs it. Args: folder: for its named volumes, and above the files that it binds."""
    bound, writable = {}, {}
    for volume in service.get("volumes", ()):
        source, destination, *mode = volume.split(":")
        if source.startswith(("/", ".")):
            bound[(FOLDER / source).resolve()] = destination
        elif mode == ["ro"]:
            (folder / source).mkdir(exist_ok=True)
            bound[folder / source] = destination
        else:
            writable[folder / source] = destination
    environment = {name: str(value) for name, value in service.get("environment", {}).items() if value is not None}
    return Shape(
        command=shlex.split(service["command"]),
        environment=environment,
        bound=bound,
        writable=writable,
        tmpfs=service["tmpfs"],
        read_only=service["read_only"],
    )


def _filled(content: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(content, dict):
        return {name: _filled(each, variables) for name, each in content.items()}
    if isinstance(content, list):
        return [_filled(each, variables) for each in content]
    return fill(content, variables) if isinstance(content, str) else content

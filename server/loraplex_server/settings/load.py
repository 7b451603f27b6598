"""Settings from all their sources, and errors that name the source's own spelling."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from loraplex_server.logs.redaction import redact
from loraplex_server.settings.environment import ALSO_KEY, has_only_also_key, read_environment
from loraplex_server.settings.errors import SettingsError, did_you_mean
from loraplex_server.settings.options import ServeSettings
from loraplex_server.settings.parser import CommandLine
from loraplex_server.settings.told import PREFIX
from loraplex_server.settings.yaml_text import TwiceError, read_text

_SECRET = frozenset({"api_key", "admin_key"})


def load_settings(
    command_line: CommandLine,
    arguments: Sequence[str],
    environ: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> ServeSettings:
    """Read the settings: command line first, then LORAPLEX_* variables, then the YAML file, then `defaults`.

    Raises:
        SettingsError: with a line for each setting that is misspelt or bad.
        SystemExit: help was asked for and printed.
    """
    from_arguments = command_line.read(arguments)
    environ = os.environ if environ is None else environ
    from_environment = read_environment(environ)
    path = from_arguments.get("config", from_environment.get("config"))
    from_file = read_yaml(Path(os.path.expanduser(path))) if path else {}
    if "api_key" in from_file and "api_key" not in from_arguments and has_only_also_key(environ):
        raise SettingsError([f"{ALSO_KEY} and api_key in {path} both say who may ask: keep one of them"])
    merged = {**(defaults or {}), **from_file, **from_environment, **from_arguments}
    return _checked(merged, _Spellings(from_arguments, from_environment, path if from_file else None))


def settings_of(values: Mapping[str, Any], environment: Mapping[str, str], where: str) -> ServeSettings:
    """Settings that another program hands over, beside the variables.

    Args:
        values: as known_keys gives them; they win. environment: as read_environment gives it.
        where: the values stand, for errors.

    Raises:
        SettingsError: with a line for each that is bad.
    """
    others = {name: value for name, value in environment.items() if name not in values}
    return _checked({**others, **values}, _Spellings({}, others, where))


def _checked(merged: Mapping[str, Any], spellings: _Spellings) -> ServeSettings:
    # A variable that a script left unset must not open a door, or name the folder of wherever it runs.
    empty = {name for name, value in merged.items() if value == ""}
    problems = [f"{spellings.of(name)} is empty: leave it out, or give it a value" for name in sorted(empty)]
    try:
        settings = ServeSettings(**merged)
    except ValidationError as error:
        problems += [_describe(each, spellings) for each in error.errors() if not empty.intersection(each["loc"])]
    if problems:
        raise SettingsError(problems)
    return settings


def read_yaml(path: Path) -> dict[str, Any]:
    """Values of the fields that the file sets; names with dashes or underscores.

    Raises:
        SettingsError: no such file, no YAML, or a key that names no option.
    """
    try:
        content = read_text(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError([f"cannot read the settings file {path}: {reason}"]) from None
    except TwiceError as error:
        raise SettingsError([f"key {error.key!r} is in {path} twice"]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError([f"the settings file {path} is no YAML: {' '.join(str(error).split())}"]) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError([f"the settings file {path} must hold `name: value` lines"])
    return known_keys(content, str(path))


def known_keys(content: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """Values by the names of the options that they are for.

    Raises:
        SettingsError: with a line for each that names none, or has no value.
    """
    names = [name for name in ServeSettings.model_fields if name != "config"]
    values: dict[str, Any] = {}
    problems = []
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in names:
            problems.append(f"unknown key {str(key)!r} in {where}{did_you_mean(name, names)}")
        elif name in values:
            problems.append(f"key {str(key)!r} is in {where} twice")
        elif value is None:
            problems.append(f"key {str(key)!r} in {where} has no value")
        elif isinstance(value, bool) and _takes_number(ServeSettings.model_fields[name].annotation):
            problems.append(f"{name} in {where}: on, off, yes and no are no numbers")
        else:
            values[name] = str(value) if name == "model" else value
    if problems:
        raise SettingsError(problems)
    return values


def _takes_number(annotation: Any) -> bool:
    """Where it does, a bool would be 1 or 0."""
    return annotation in (int, float) or any(map(_takes_number, get_args(annotation)))


class _Spellings:
    """How the source that set a field spells its name."""

    def __init__(self, arguments: Mapping[str, Any], environment: Mapping[str, Any], path: str | None) -> None:
        self._arguments, self._environment, self._path = arguments, environment, path

    def of(self, name: str) -> str:
        flag = "MODEL" if name == "model" else "--" + name.replace("_", "-")
        if name in self._arguments:
            return flag
        if name in self._environment:
            return PREFIX + name.upper()
        return f"{name} in {self._path}" if self._path else flag


def _describe(error: ErrorDetails, spellings: _Spellings) -> str:
    name = str(error["loc"][0]) if error["loc"] else "settings"
    if error["type"] == "missing":
        return f"{spellings.of(name)} is missing"
    message = error["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    got = "" if name in _SECRET else f" (got {redact(str(error['input'])[:100])!r})"
    return f"{spellings.of(name)}: {message}{got}"

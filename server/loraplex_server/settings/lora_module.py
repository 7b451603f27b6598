"""An adapter that is named when the server starts, as vLLM's --lora-modules names it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

FORMS = 'name=path, or {"name": ..., "path": ..., "base_model_name": ...}'
FIELDS = frozenset({"name", "path", "base_model_name", "is_3d_lora_weight"})


@dataclass(frozen=True)
class LoraModule:
    """Args: name: of the adapter. path: a folder, or a source elsewhere. base_model_name: shown as its parent."""

    name: str
    path: str
    base_model_name: str | None = None


def parent_of(name: str, modules: Iterable[LoraModule]) -> str | None:
    """What the settings call the base of an adapter; None where they say nothing."""
    return next((module.base_model_name for module in modules if module.name == name), None)


def looks_like_module(word: str) -> bool:
    """Whether a word of a command line is one, rather than the next argument."""
    return "=" in word or word.lstrip("'").startswith(("{", "["))


def read_modules(given: object) -> tuple[LoraModule, ...]:
    """Modules from a command line's words, from one text (of the environment) or from a list of YAML's.

    Raises:
        ValueError: one of them is none, or two have one name.
    """
    items = [given] if isinstance(given, str | Mapping) else given
    if not isinstance(items, list | tuple):
        raise ValueError(f"is none of {FORMS}")
    modules = tuple(module for item in items for module in _read(item))
    names = [module.name for module in modules]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{twice!r} is named twice")
    return modules


def _read(item: object) -> list[LoraModule]:
    if isinstance(item, LoraModule):
        return [item]
    if not isinstance(item, str):
        return [_of_fields(item)]
    # A manifest's quotes reach us where no shell took them off.
    text = item.strip().removeprefix("'").removesuffix("'").strip()
    if text.startswith(("{", "[")):
        try:
            found: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"is no JSON: {error}") from None
        return [_of_fields(each) for each in (found if isinstance(found, list) else [found])]
    return [_of_words(each) for each in text.split(",") if each.strip()]


def _of_words(text: str) -> LoraModule:
    name, equals, path = text.strip().partition("=")
    if not equals or not name or not path:
        raise ValueError(f"{text[:100]!r} is not {FORMS}")
    return LoraModule(name, path)


def _of_fields(fields: object) -> LoraModule:
    if (
        not isinstance(fields, Mapping)
        or not isinstance(fields.get("name"), str)
        or not isinstance(fields.get("path"), str)
    ):
        raise ValueError(f"{str(fields)[:100]} is not {FORMS}")
    if unknown := sorted(set(map(str, fields)) - FIELDS):
        raise ValueError(f"{fields['name']!r} has a field {unknown[0]!r}; known are {', '.join(sorted(FIELDS))}")
    if fields.get("is_3d_lora_weight"):
        raise ValueError(f"{fields['name']!r}: is_3d_lora_weight: no experts are served")
    base = fields.get("base_model_name")
    if base is not None and not isinstance(base, str):
        raise ValueError(f"{fields['name']!r}: base_model_name is no text")
    return LoraModule(fields["name"], fields["path"], base)

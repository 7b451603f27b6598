"""JSON schemas as grammars: just the answers that are valid, or a refusal.

llguidance refuses by itself what it does not know. Refused or put right here is what it reads as something else.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from loraplex_server.api.rendering.control_characters import may_match_control

# Between the parts of JSON, at each place at most once. Without an end, some models write nothing else for ever.
WHITESPACE = r"[\x20\x0A\x0D\x09]{1,32}"
MAX_DEPTH = 60  # of subschemas
MAX_BRACKETS = 128  # in each other; what llguidance reads
MAX_PROPERTIES = 5000  # of all objects
# Of one object. llguidance follows all that may come next at once, and gives up at some 490.
MAX_OPTIONAL = 400
# Of all objects. Each is held against each other, to see whether a key could be of both.
MAX_KEY_PATTERNS = 100
LARGEST_EXACT = 2**53  # llguidance reads numbers as 64-bit floats

_ONE = ("additionalProperties", "additionalItems", "contains", "propertyNames", "not", "if", "then", "else", "items")
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_DATA = ("const", "enum", "default", "examples", "title", "description", "$comment", "required", "type", "pattern")
_UP = {"minimum": True, "exclusiveMinimum": True, "maximum": False, "exclusiveMaximum": False}


class SchemaError(ValueError):
    """The schema cannot be served; the message says which keyword keeps it."""


@dataclass(frozen=True)
class JsonStyle:
    """Args: whitespace: a regex of what may stand between the parts, "" for nothing. closed: objects with `properties`
    have no others unless they say so.
    """

    whitespace: str = WHITESPACE
    closed: bool = False


DEFAULT_STYLE = JsonStyle()


def schema_text(schema: Any, style: JsonStyle = DEFAULT_STYLE) -> str:
    """A schema as llguidance takes it: for a grammar of its own, or behind `%json` in Lark.

    Args:
        schema: JSON, as Python has it.
        style: of the answers.

    Raises:
        SchemaError: it cannot be served exactly.
    """
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise SchemaError("the schema is no object")
    if "x-guidance" in schema:
        raise SchemaError("'x-guidance' is not supported")
    _check_depth(schema)
    schema = copy.deepcopy(schema)
    found = list(_subschemas(schema))
    for place, each in enumerate(found):
        _put_right(each, root=place == 0, closed=style.closed)
    for key, most in (("properties", MAX_PROPERTIES), ("patternProperties", MAX_KEY_PATTERNS)):
        if sum(len(each.get(key, ())) for each in found) > most:
            raise SchemaError(f"'{key}': there are more than {most} in all")
    options = {
        "whitespace_flexible": bool(style.whitespace),
        "whitespace_pattern": style.whitespace or None,
        "lenient": False,
        "coerce_one_of": False,
        "json_allowed_escapes": _escapes(found),
    }
    return json.dumps({**schema, "x-guidance": options}, ensure_ascii=False, allow_nan=False)


def _check_depth(root: dict[str, Any]) -> None:
    """First of all, and without recursion: all that comes after goes as deep as the schema does."""
    level: list[Any] = [root]
    for _ in range(MAX_BRACKETS):
        level = [each for value in level for each in _inner(value) if isinstance(each, dict | list)]
        if not level:
            return
    raise SchemaError(f"it is nested more than {MAX_BRACKETS} deep")


def _inner(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _subschemas(root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All of them, the root first; also those under names that JSON Schema does not know, which a $ref may point to."""
    waiting: list[tuple[Any, int]] = [(root, 0)]
    while waiting:
        schema, depth = waiting.pop()
        if not isinstance(schema, dict):
            continue
        if depth > MAX_DEPTH:
            raise SchemaError(f"it is nested more than {MAX_DEPTH} deep")
        yield schema
        for key, value in schema.items():
            if key in _DATA:
                continue
            inner = value if isinstance(value, list) else [value]
            if key in _NAMED:
                inner = list(value.values()) if isinstance(value, dict) else []
            waiting += [(each, depth + 1) for each in inner]


def _put_right(schema: dict[str, Any], *, root: bool, closed: bool) -> None:
    for key in _NAMED:
        if not isinstance(schema.get(key, {}), dict):
            raise SchemaError(f"'{key}' must be an object")
    if schema.get("uniqueItems") is False:
        del schema["uniqueItems"]
    if closed and "properties" in schema:
        schema.setdefault("additionalProperties", False)
    for key, up in _UP.items():
        if key in schema:
            schema[key] = _exact_bound(schema[key], up=up)
    for key in ("const", "enum", "multipleOf"):
        if key in schema and any(_is_inexact(value) for value in _leaves(schema[key])):
            raise SchemaError(f"'{key}': integers beyond 2^53 are not supported")
    if not root and isinstance(schema.get("$id"), str):
        raise SchemaError("'$id' inside of a schema is not supported")
    if "prefixItems" in schema and "additionalItems" in schema:
        raise SchemaError("'additionalItems' beside 'prefixItems' is not supported")
    _check_counts(schema)


def _check_counts(schema: dict[str, Any]) -> None:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(required, list):
        raise SchemaError("'required' must be a list")
    names = {name for name in required if isinstance(name, str)}
    if len(properties.keys() - names) > MAX_OPTIONAL:
        raise SchemaError(f"'properties': more than {MAX_OPTIONAL} of one object are not required")
    least = schema.get("minProperties", 0)
    is_open = schema.get("additionalProperties") is not False or bool(schema.get("patternProperties"))
    if is_open and isinstance(least, int) and least - len(names) > 1:
        # Keys that no list names may come twice, and a parser then counts them once.
        raise SchemaError("'minProperties' above 1, beside what is required, is not supported for objects of any keys")


def _exact_bound(value: Any, *, up: bool) -> Any:
    """A bound that is no float, moved to the next one inside of it."""
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) <= LARGEST_EXACT:
        return value
    try:
        near = float(value)
    except OverflowError:
        raise SchemaError("numbers beyond those of 64-bit floats are not supported") from None
    if int(near) < value and up:
        near = math.nextafter(near, math.inf)
    elif int(near) > value and not up:
        near = math.nextafter(near, -math.inf)
    return int(near)


def _is_inexact(value: Any) -> bool:
    return isinstance(value, int) and abs(value) > LARGEST_EXACT


def _leaves(value: Any) -> Iterator[Any]:
    """All values of some JSON that hold no others, and keys."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from _leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def _escapes(schemas: list[dict[str, Any]]) -> str:
    r"""Which escapes strings may have.

    llguidance tells a listed key from another by its letters as they are written, so that `"\u0061"` would pass for a
    key that is not `a`. Where that could be, there is no \u; and then no string can hold control characters.
    """
    named = any(schema.get(key) for schema in schemas for key in ("properties", "patternProperties", "required"))
    is_open = any(
        schema.get(key) and schema.get("additionalProperties") is not False
        for schema in schemas
        for key in ("properties", "patternProperties", "required")
    )
    if not (named and is_open):
        return 'nrbtf\\"u'
    for schema in schemas:
        strings = [leaf for key in ("const", "enum") for leaf in _leaves(schema.get(key))]
        patterns = [schema.get("pattern"), *schema.get("patternProperties", {})]
        for text in [*strings, *patterns]:
            if isinstance(text, str) and may_match_control(text, regex=text in patterns):
                raise SchemaError(
                    f"the control character in {text[:50]!r} is only supported where each object that lists keys has "
                    "'additionalProperties': false"
                )
    return 'nrbtf\\"'

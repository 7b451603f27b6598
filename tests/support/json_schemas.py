"""Random JSON schemas that have a bit of everything, and a judge of what answers them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

WORDS = ("name", "age", "city", "tags", "item", "unit", "size", "kind")
PATTERNS = (
    "^[a-z]{2,6}$",
    "^[A-Z][a-z]{0,4}-[0-9]{2}$",
    r"^\d{3}$",
    "^(red|green|blue)$",
    r"^[^\s]{1,5}$",
    "^é?[α-ω]{1,3}$",
)
# Their shapes. Which years have a 29th of February is beyond a grammar, and the standard's own formats are notes.
FORMATS = {
    "date": r"\d{4}-\d{2}-\d{2}",
    "time": r"\d{2}:\d{2}:\d{2}(\.\d+)?([zZ]|[+-]\d{2}:\d{2})",
    "date-time": r"\d{4}-\d{2}-\d{2}[tT]\d{2}:\d{2}:\d{2}(\.\d+)?([zZ]|[+-]\d{2}:\d{2})",
    "uuid": "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "ipv4": r"(\d{1,3}\.){3}\d{1,3}",
    "duration": "P[0-9YMWDTHS]+",
}

Make = Callable[[random.Random, int], dict[str, Any]]


def schemas(count: int, seed: int) -> list[dict[str, Any]]:
    """As many, all kinds in turns at the top, always the same for a seed."""
    chance = random.Random(seed)
    kinds = [*CONTAINERS, tree, chain, *LEAVES]
    return [kinds[number % len(kinds)](chance, 2) for number in range(count)]


def fault(schema: dict[str, Any], text: str) -> str | None:
    """Why a text is no answer to a schema; None where it is one."""
    try:
        value = json.loads(text)
    except ValueError as error:
        return str(error)
    error = next(Draft202012Validator(schema, format_checker=_CHECKER).iter_errors(value), None)
    return None if error is None else error.message


def anything(chance: random.Random, depth: int) -> dict[str, Any]:
    return chance.choice(LEAVES if depth == 0 else (*LEAVES, *CONTAINERS))(chance, depth)


def text(chance: random.Random, _: int) -> dict[str, Any]:
    least = chance.randrange(3)
    return {"type": "string", "minLength": least, "maxLength": least + chance.randrange(12)}


def pattern(chance: random.Random, _: int) -> dict[str, Any]:
    return {"type": "string", "pattern": chance.choice(PATTERNS)}


def form(chance: random.Random, _: int) -> dict[str, Any]:
    return {"type": "string", "format": chance.choice(sorted(FORMATS))}


def integer(chance: random.Random, _: int) -> dict[str, Any]:
    low = chance.randrange(-500, 500)
    bound = chance.choice(("minimum", "exclusiveMinimum"))
    schema = {"type": "integer", bound: low, "maximum": low + chance.randrange(5, 1000)}
    return schema | ({"multipleOf": chance.choice((2, 3, 5))} if chance.random() < 0.3 else {})


def number(chance: random.Random, _: int) -> dict[str, Any]:
    low = round(chance.uniform(-100, 100), chance.randrange(4))
    schema = {"type": "number", "minimum": low, chance.choice(("maximum", "exclusiveMaximum")): low + 7.25}
    return schema | ({"multipleOf": chance.choice((0.5, 0.25))} if chance.random() < 0.2 else {})


def plain(chance: random.Random, _: int) -> dict[str, Any]:
    return {"type": chance.choice(("boolean", "null", "integer", "number"))}


def either_type(chance: random.Random, _: int) -> dict[str, Any]:
    return {"type": ["string", "null", "boolean"], "maxLength": chance.randrange(9)}


def constant(chance: random.Random, _: int) -> dict[str, Any]:
    return {
        "const": chance.choice(("yes", 'a "quoted"\n line', 17, -0.5, None, True, [1, {"a": "b"}], {"x": [], "é": 2}))
    }


def enum(chance: random.Random, _: int) -> dict[str, Any]:
    return {
        "enum": chance.sample(["red", "green", 1, 2.5, None, False, "ünï", ["a"], {"k": 1}, "\U0001f600", 10**6], 4)
    }


def array(chance: random.Random, depth: int) -> dict[str, Any]:
    least = chance.randrange(2)
    items = anything(chance, depth - 1)
    return {"type": "array", "items": items, "minItems": least, "maxItems": least + chance.randrange(3)}


def pair(chance: random.Random, depth: int) -> dict[str, Any]:
    first = [anything(chance, depth - 1) for _ in range(2)]
    rest: Any = chance.choice((False, {"type": "boolean"}))
    return {"type": "array", "prefixItems": first, "items": rest, "minItems": 1, "maxItems": 3}


def record(chance: random.Random, depth: int) -> dict[str, Any]:
    names = chance.sample(WORDS, chance.randrange(1, 5))
    required = chance.sample(names, chance.randrange(len(names) + 1))
    rest: Any = chance.choice((False, False, False, True, {"type": "integer"}))
    properties = {name: anything(chance, depth - 1) for name in names}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": rest}


def table(chance: random.Random, depth: int) -> dict[str, Any]:
    keys = {"^[a-z]{1,4}$": anything(chance, depth - 1), "^[0-9]{2}$": {"type": "boolean"}}
    schema = {"type": "object", "patternProperties": keys, "additionalProperties": False}
    return schema | {"minProperties": chance.randrange(2), "maxProperties": 2}


def any_of(chance: random.Random, depth: int) -> dict[str, Any]:
    return {"anyOf": [anything(chance, depth - 1) for _ in range(chance.randrange(2, 4))]}


def one_of(chance: random.Random, depth: int) -> dict[str, Any]:
    def option(kind: str) -> dict[str, Any]:
        properties = {"kind": {"const": kind}, "value": anything(chance, depth - 1)}
        return {"type": "object", "properties": properties, "required": ["kind"], "additionalProperties": False}

    return {"oneOf": [option("a"), option("b"), {"type": "boolean"}]}


def all_of(chance: random.Random, depth: int) -> dict[str, Any]:
    parts = [
        {"type": "object", "properties": {name: anything(chance, 0)}, "required": [name]}
        for name in chance.sample(WORDS, 2)
    ]
    return {"allOf": [*parts, {"maxProperties": 2}]}


def tree(chance: random.Random, _: int) -> dict[str, Any]:
    node = {
        "type": "object",
        "properties": {
            "value": anything(chance, 0),
            "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
        },
        "required": ["value"],
        "additionalProperties": False,
    }
    return {"$ref": "#/$defs/node", "$defs": {"node": node}}


def chain(chance: random.Random, _: int) -> dict[str, Any]:
    link = {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/link"}]}
    properties = {"head": anything(chance, 0), "tail": link}
    defs = {"link": {"type": "object", "properties": properties, "required": ["head", "tail"]}}
    defs["link"]["additionalProperties"] = False
    whole = {"type": "object", "properties": {"list": link}, "required": ["list"], "$defs": defs}
    return whole | {"additionalProperties": False}


LEAVES: tuple[Make, ...] = (text, pattern, form, integer, number, plain, either_type, constant, enum)
CONTAINERS: tuple[Make, ...] = (array, pair, record, table, any_of, one_of, all_of)


def _checker() -> FormatChecker:
    checker = FormatChecker(())
    for name, shape in FORMATS.items():
        checker.checks(name)(lambda value, shape=shape: not isinstance(value, str) or bool(re.fullmatch(shape, value)))
    return checker


_CHECKER = _checker()

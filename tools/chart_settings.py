"""The options of `loraplex serve` as the JSON schema of the chart's `settings`."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from loraplex_server.settings import ServeSettings
from loraplex_server.settings.quantity import parse_bytes

# What the chart sets itself, from values of other names, or as its volumes lie.
OF_THE_CHART = frozenset(
    {
        *("model", "tensor-parallel-size", "adapters", "state-dir", "adapter-cache", "config"),
        *("host", "port", "ssl-certfile", "ssl-keyfile", "api-key", "admin-key", "keys", "open-metrics"),
        *("shutdown-delay", "shutdown-timeout", "otlp-traces-endpoint"),
    }
)

SIZE = {"type": "string", "pattern": r"^ *[0-9]+(\.[0-9]+)? *([kKmMgGtT]i?)?[bB]? *$"}
LISTED = {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]}
MODULES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "anyOf": [
            {"type": "string", "minLength": 1},
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "path"],
                "properties": {name: {"type": "string"} for name in ("name", "path", "base_model_name")},
            },
        ]
    },
}

_KEPT = ("type", "enum", "minLength", "pattern")
# Pydantic leaves its own names where a validator runs before the limits; draft 7 has the others.
_LIMITS = {name: name for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")} | {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
}


def settings_schema() -> dict[str, Any]:
    """Closed, with a line of help for each option."""
    shapes = ServeSettings.model_json_schema()["properties"]
    options = {name.replace("_", "-"): name for name in ServeSettings.model_fields}
    properties = {
        option: {"description": ServeSettings.model_fields[name].description} | _shape(name, shapes[name])
        for option, name in options.items()
        if option not in OF_THE_CHART
    }
    ordered = dict(sorted(properties.items()))
    return {"type": "object", "additionalProperties": False, "properties": ordered}


def _shape(name: str, shape: dict[str, Any]) -> dict[str, Any]:
    if name == "lora_modules":
        return MODULES
    told = next((each for each in shape.get("anyOf", [shape]) if each.get("type") != "null"), shape)
    if told.get("type") == "array":
        return LISTED
    kept = {key: told[key] for key in told if key in _KEPT}
    limits = {_LIMITS[key]: told[key] for key in told if key in _LIMITS}
    if _is_size(ServeSettings.model_fields[name]):
        return {"anyOf": [SIZE, kept | limits]}
    return kept | limits


def _is_size(field: FieldInfo) -> bool:
    told = [*field.metadata, *(each for part in get_args(field.annotation) for each in get_args(part))]
    return any(isinstance(each, BeforeValidator) and each.func is parse_bytes for each in told)

"""Write docs/api.md anew: the reference of the HTTP API, from its own OpenAPI document.

python tools/api_doc.py            # rewrites the page
python tools/api_doc.py --check    # says whether it is up to date, and changes nothing
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from written import ROOT, written

from loraplex_server import __version__
from loraplex_server.api.document.families import include_families
from loraplex_server.api.document.openapi import install_openapi
from loraplex_server.api.document.openapi_errors import ANY, OF_BODIES
from loraplex_server.api.process.batch_work import OFF

PAGE = ROOT / "docs" / "api.md"
HEAD = """\
# The HTTP API

Written by `python tools/api_doc.py` from the document that a server gives at `/openapi.json`.

A field that is not in the tables is refused by name, unless its value asks for what is done anyway (OpenAI's `user`,
`store: false` and the like). Null is the default everywhere. Where a server has keys, each request needs one, as
`Authorization: Bearer KEY` or `x-api-key: KEY`. Every answer has an `x-request-id`, which the log has too.
"""
LIMITS = {
    "minimum": "≥ {}",
    "maximum": "≤ {}",
    "exclusiveMinimum": "> {}",
    "exclusiveMaximum": "< {}",
    "minLength": "≥ {} characters",
    "maxLength": "≤ {} characters",
    "minItems": "≥ {} items",
    "maxItems": "≤ {} items",
    "maxProperties": "≤ {} entries",
}
# Said once, not with each route.
USUAL = frozenset({*ANY.values(), *OF_BODIES.values(), *OFF.values()})
Json = Mapping[str, Any]


def document() -> dict[str, Any]:
    """The OpenAPI document, of no server in particular."""
    app = FastAPI(title="Loraplex", version=__version__)
    include_families(app)
    install_openapi(app)
    return app.openapi()


def page(document: Json) -> str:
    """All of it."""
    schemas = document["components"]["schemas"]
    operations = [
        (operation["tags"][0], f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    lines = [HEAD, *_contents(document, operations), *_errors(document)]
    bodies: dict[str, None] = {}
    for family in document["tags"]:
        lines += [f"\n## {family['name']}\n", family["description"]]
        for tag, name, operation in operations:
            if tag == family["name"]:
                lines += _operation(name, operation, schemas, bodies)
    lines.append("\n## Types")
    lines += _types(schemas, bodies)
    return "\n".join(lines) + "\n"


def _contents(document: Json, operations: list[tuple[str, str, Json]]) -> Iterator[str]:
    for family in document["tags"]:
        names = [f"[`{name}`](#{_anchor(name)})" for tag, name, _ in operations if tag == family["name"]]
        yield f"- [{family['name']}](#{_anchor(family['name'])}): {', '.join(names)}"


def _errors(document: Json) -> Iterator[str]:
    schemas, usual = document["components"]["schemas"], document["paths"]["/v1/completions"]["post"]["responses"]
    yield "\n## Errors\n"
    yield "What any route may answer, besides what stands with it:\n"
    yield "| status | |\n|---|---|"
    for status, answer in sorted(usual.items()):
        if answer["description"] in USUAL:
            yield f"| {status} | {answer['description']} |"
    yield f"\nThe body is OpenAI's: `{json.dumps(_sketch(schemas['Error']))}`. `param` names the"
    yield "field at fault, `code` is for programs. Messages and LoRAX have their own, and some statuses of their own:\n"
    for name in ("AnthropicError", "LoraxError"):
        yield f"- {name}: `{json.dumps(_sketch(schemas[name]))}`"


def _sketch(schema: Json) -> Any:
    if "properties" in schema:
        return {name: _sketch(part) for name, part in schema["properties"].items()}
    return schema.get("const", "...")


def _operation(name: str, operation: Json, schemas: Json, bodies: dict[str, None]) -> Iterator[str]:
    yield f"\n### `{name}`\n"
    yield f"{operation['summary']}. {operation.get('description', '')}".strip()
    if parameters := operation.get("parameters"):
        rows = {each["name"]: {**each["schema"], "description": each.get("description", "")} for each in parameters}
        yield from _table(rows, [each["name"] for each in parameters if each.get("required")])
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        names = [_type_name(part) for part in content["schema"].get("anyOf", [content["schema"]]) if "$ref" in part]
        if names:
            yield "\nBody: " + " or ".join(_link(each) for each in names) + "."
            bodies.update(dict.fromkeys(names))
            example = next(iter(schemas[names[0]].get("examples", ())), None)
            yield from _example("Request", example)
        else:
            yield f"\nBody, as {kind}:"
            yield from _table(content["schema"]["properties"], content["schema"].get("required", ()))
    for status, answer in operation["responses"].items():
        if answer["description"] in USUAL:
            continue
        yield f"\n**{status}** {answer['description']}"
        for content in answer.get("content", {}).values():
            yield from _example("", content.get("example"))


def _example(title: str, example: Any) -> Iterator[str]:
    if example is None:
        return
    text = example.rstrip() if isinstance(example, str) else json.dumps(example, ensure_ascii=False, indent=2)
    if not isinstance(example, str) and len(flat := json.dumps(example, ensure_ascii=False)) <= 110:
        text = flat
    yield (f"\n{title}:\n" if title else "") + f"\n```{'' if isinstance(example, str) else 'json'}\n{text}\n```"


def _types(schemas: Json, bodies: Mapping[str, None]) -> Iterator[str]:
    """The bodies, and what their fields are made of, in the order in which a reader meets them."""
    waiting, done = list(bodies), set()
    while waiting:
        name = waiting.pop(0)
        if name in done:
            continue
        done.add(name)
        schema = schemas[name]
        yield f"\n### {name}\n"
        yield " ".join(schema.get("description", "").split())
        yield from _table(schema.get("properties", {}), schema.get("required", ()))
        waiting = [*_names_in(schema), *waiting]


def _names_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield _type_name(schema)
        for key, part in schema.items():
            if key not in ("examples", "default", "mapping"):
                yield from _names_in(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _names_in(part)


def _table(properties: Json, required: Any) -> Iterator[str]:
    if not properties:
        return
    yield "\n| field | type | default | |\n|---|---|---|---|"
    for name, schema in properties.items():
        default = "**required**" if name in required else _default(schema)
        about = " ".join(schema.get("description", "").split())
        notes = "; ".join(filter(None, (about.rstrip("."), ", ".join(_limits(schema)))))
        yield f"| `{name}` | {_type(schema)} | {default} | {_cell(notes)} |"


def _default(schema: Json) -> str:
    return "" if schema.get("default") is None else f"`{_cell(json.dumps(schema['default']))}`"


def _type(schema: Json) -> str:
    if "$ref" in schema:
        return _link(_type_name(schema))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " \\| ".join(f"`{json.dumps(each)}`" for each in schema["enum"])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            kinds = dict.fromkeys(_type(part) for part in schema[key] if part.get("type") != "null")
            return " \\| ".join(kinds)
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return str(schema.get("type", "any"))


def _limits(schema: Json) -> Iterator[str]:
    parts = [schema, *(part for part in schema.get("anyOf", ()) if "$ref" not in part)]
    for part in parts:
        for key, text in LIMITS.items():
            if key in part:
                yield text.format(part[key])


def _type_name(schema: Json) -> str:
    return str(schema["$ref"].rpartition("/")[2])


def _link(name: str) -> str:
    return f"[{name}](#{_anchor(name)})"


def _anchor(title: str) -> str:
    """As GitHub makes it."""
    kept = [character for character in title.lower() if character.isalnum() or character in " -_"]
    return "".join(kept).replace(" ", "-")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> int:
    """0, or 1 when the page was checked and is stale."""
    return written({PAGE: page(document())}, __file__, "--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())

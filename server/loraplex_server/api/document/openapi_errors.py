"""What every route may answer besides its own answers: errors, each in the envelope of the API at its path."""

from __future__ import annotations

from typing import Any

from loraplex_server.api.access.guard import is_guarded
from loraplex_server.api.errors import ApiError
from loraplex_server.api.forms.envelopes import Envelope, anthropic_envelope, envelope_for, lorax_envelope, status_for

_MESSAGE = {"type": "string", "description": "What is wrong, and what to do."}
_NULLABLE = {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_SCHEMAS: dict[Envelope, tuple[str, dict[str, Any]]] = {
    ApiError.envelope: (
        "Error",
        _object(error=_object(message=_MESSAGE, type={"type": "string"}, param=_NULLABLE, code=_NULLABLE)),
    ),
    anthropic_envelope: (
        "AnthropicError",
        _object(type={"const": "error"}, error=_object(type={"type": "string"}, message=_MESSAGE)),
    ),
    lorax_envelope: ("LoraxError", _object(error=_MESSAGE, error_type={"type": "string"})),
}

ANY = {
    400: "The request is at fault; the message says where.",
    401: "No key, or none that is known.",
    403: "The key may not do this, or the server was started without what it needs.",
    404: "There is none of that name, or none that the key may see.",
    405: "The path takes another method.",
    408: "The request's time was over before it could be answered.",
    409: "It is not in a state in which this can be done.",
    429: "Too much at once: `retry-after` says when to come again.",
    503: "The model is still being loaded, the engine starts again, or the server shuts down: `retry-after` says when.",
}
OF_BODIES = {
    413: "The body is larger than the server takes.",
    415: "The body is no JSON, or is compressed.",
    424: "An adapter cannot be loaded.",
}


def describe_errors(document: dict[str, Any]) -> None:
    """Add to each operation of a guarded path the errors that it does not describe itself."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(dict(_SCHEMAS.values()))
    for path, operations in document["paths"].items():
        if not is_guarded(path):
            continue
        name, _ = _SCHEMAS[envelope_for(path)]
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
        for operation in operations.values():
            _describe(operation, content, path)


def _describe(operation: dict[str, Any], content: dict[str, Any], path: str) -> None:
    answers = operation.setdefault("responses", {})
    answers.pop("422", None)  # FastAPI's own, which is a 400 here
    known = ANY | (OF_BODIES if "requestBody" in operation else {})
    for status, meaning in known.items():
        answer = answers.setdefault(str(status_for(path, ApiError(status, meaning))), {"description": meaning})
        answer.setdefault("content", content)
    for status, answer in answers.items():
        if status >= "4":
            answer.setdefault("content", content)

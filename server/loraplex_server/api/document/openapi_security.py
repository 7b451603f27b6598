"""How requests say whose they are, as the OpenAPI document tells it."""

from __future__ import annotations

from typing import Any

from loraplex_server.api.access.guard import is_guarded

_SCHEMES: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer KEY"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "As Anthropic's clients do."},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key", "description": "As Azure's clients do."},
}


def describe_security(document: dict[str, Any]) -> None:
    """Add the ways to send a key to each operation that asks for one; none is needed where the server has no keys."""
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        if is_guarded(path):
            for operation in operations.values():
                operation["security"] = [*({name: []} for name in _SCHEMES), {}]

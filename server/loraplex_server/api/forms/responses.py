"""JSON responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import Response

from loraplex_server.api.errors import ApiError
from loraplex_server.api.forms.envelopes import envelope_for, status_for


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A body as JSON."""
    return Response(msgspec.json.encode(body), status, dict(headers or {}), "application/json")


def error_response(error: ApiError, path: str) -> Response:
    """An error as the clients of the API at this path expect it."""
    return json_response(envelope_for(path)(error), status_for(path, error), error.headers)

"""Request bodies: bounded, JSON, checked against a schema; every fault is answered with a message of bounded size."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pydantic_core
from fastapi import Request
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from loraplex_server.api.errors import ApiError, bad_request
from loraplex_server.api.schemas.fields import served_fields
from loraplex_server.api.schemas.sampling import Schema

MAX_ERRORS = 10
MAX_INPUT = 200
# Larger bodies are read on a thread: every stream waits while the event loop does not turn.
INLINE_BYTES = 65536

_Body = TypeVar("_Body", bound=Schema)
_T = TypeVar("_T")


async def read_body(request: Request, schema: type[_Body], limit: int) -> _Body:
    """The request's body as its schema.

    Raises:
        ApiError: 413 too large, 415 not JSON, 400 anything else.
    """
    data = await _read_json_bytes(request, limit)
    return await _beside(request, lambda: parse_body(_object(data), schema))


async def read_json(request: Request, limit: int) -> dict[str, Any]:
    """The request's body as a JSON object. See read_body."""
    data = await _read_json_bytes(request, limit)
    return await _beside(request, lambda: _object(data))


async def read_again(request: Request, fields: Callable[[], dict[str, Any]], schema: type[_Body]) -> _Body:
    """A body that was read, or what it is in another API's words, as a schema. See read_body."""
    return await _beside(request, lambda: parse_body(fields(), schema))


async def _beside(request: Request, read: Callable[[], _T]) -> _T:
    return await asyncio.to_thread(read) if request.state.body_bytes > INLINE_BYTES else read()


async def _read_json_bytes(request: Request, limit: int) -> bytes:
    _check_type(request)
    data = await _read_bytes(request, limit)
    request.state.body_bytes = len(data)
    return data


def _object(data: bytes) -> dict[str, Any]:
    try:
        body = pydantic_core.from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise bad_request(f"The body is not valid JSON: {str(error)[:MAX_INPUT]}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise bad_request("The body must be a JSON object", code="invalid_json")
    return body


def parse_body(body: dict[str, Any], schema: type[_Body]) -> _Body:
    """A JSON object as a schema.

    Raises:
        ApiError: 400 that names the first field at fault, with up to MAX_ERRORS of them in its message.
    """
    with reading(schema):
        return schema.model_validate(served_fields(body, schema.model_fields))


@contextlib.contextmanager
def reading(schema: type[Schema]) -> Iterator[None]:
    """What is wrong with a body of this schema is the sender's error. See parse_body."""
    try:
        yield
    except ValidationError as error:
        faults = [_Fault(each, schema) for each in error.errors(include_url=False, include_context=False)[:MAX_ERRORS]]
        more = error.error_count() - len(faults)
        message = "; ".join(fault.message for fault in faults) + (f"; and {more} more" if more > 0 else "")
        raise bad_request(message, param=faults[0].param) from None


class _Fault:
    """One of pydantic's errors, worded for the sender."""

    def __init__(self, error: ErrorDetails, schema: type[Schema]) -> None:
        path = [str(part) for part in error["loc"] if not _is_branch(part)]
        message = error["msg"].removeprefix("Value error, ")
        if not path:  # of a check over several fields: it begins with the name of one
            name, _, rest = message.partition(": ")
            path, message = ([name], rest) if name in schema.model_fields else ([], message)
        self.param = path[0][:MAX_INPUT] if path else None
        name = ".".join(path)[:MAX_INPUT]
        shown = _shown(error)
        self.message = (f"'{name}': " if name else "") + message[:MAX_INPUT] + (f" (got {shown})" if shown else "")


def _is_branch(part: int | str) -> bool:
    """Whether a part of a location is pydantic's name for a branch of a union, not a field's."""
    return isinstance(part, str) and (part in ("str", "int") or "[" in part)


def _shown(error: ErrorDetails) -> str:
    value = error["input"]
    if error["type"] == "missing" or isinstance(value, dict | list):
        return ""
    return repr(value[:MAX_INPUT] if isinstance(value, str) else value)[:MAX_INPUT]


def _check_type(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise ApiError(415, "Send JSON, and say so: 'Content-Type: application/json'", code="unsupported_media_type")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError(415, "A compressed body is not supported", code="unsupported_media_type")


async def _read_bytes(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    size = int(declared) if declared.isascii() and declared.isdigit() else 0
    chunks: list[bytes] = []
    if size <= limit:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                break
            chunks.append(chunk)
    if size > limit:
        # Closing spares both sides the rest of the body.
        raise ApiError(
            413, f"The body is larger than {limit} bytes", code="body_too_large", headers={"connection": "close"}
        )
    return b"".join(chunks)

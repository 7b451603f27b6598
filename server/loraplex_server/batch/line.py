"""One line of a batch: a request, with the name under which its answer is found again.

The format is OpenAI's: `{"custom_id": ..., "method": "POST", "url": "/v1/...", "body": {...}}`.
"""

from __future__ import annotations

from typing import Any

import msgspec

EMBEDDINGS = "/v1/embeddings"
ENDPOINTS = ("/v1/chat/completions", "/v1/completions", EMBEDDINGS, "/v1/responses")
LONGEST_ID = 512

_FIELDS = ("custom_id", "method", "url", "body")


class LineError(Exception):
    """A line that is no request. Args: code: for machines. number: of the line, from 1. param: the field at fault."""

    def __init__(self, code: str, message: str, number: int, param: str | None = None, custom_id: str | None = None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.number = number
        self.param = param
        self.custom_id = custom_id


class Line(msgspec.Struct, frozen=True):
    """A request."""

    number: int  # from 1; empty lines count
    custom_id: str
    url: str
    body: bytes  # JSON
    answers: int  # asked for at once: prompts times n
    model: str  # "" where none is named
    streams: bool


class _Body(msgspec.Struct):
    """What has to be known of a body before it is sent; whether it is right is for the API to say."""

    model: Any = None
    n: Any = None
    best_of: Any = None
    prompt: Any = None
    input: Any = None
    stream: Any = None


_given = msgspec.json.Decoder(dict[str, msgspec.Raw])
_body = msgspec.json.Decoder(_Body)


def parse_line(data: bytes, number: int) -> Line:
    """A line as a request.

    Raises:
        LineError: it is none.
    """
    try:
        fields = _given.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        message = f"This line is no JSON object: {str(error)[:200]}"
        raise LineError("invalid_json_line", message, number) from None
    custom_id = _text(fields, "custom_id", number, None)
    if not 0 < len(custom_id) <= LONGEST_ID:
        message = f"'custom_id' must have 1 to {LONGEST_ID} characters"
        raise LineError("invalid_custom_id", message, number, "custom_id")
    if unknown := sorted(fields.keys() - set(_FIELDS)):
        name = unknown[0][:200]
        raise LineError("unknown_parameter", f"Unknown field '{name}'", number, name, custom_id)
    if (method := _text(fields, "method", number, custom_id)) != "POST":
        message = f"'method' must be 'POST', not {method[:20]!r}"
        raise LineError("invalid_method", message, number, "method", custom_id)
    url = _text(fields, "url", number, custom_id)
    if url not in ENDPOINTS:
        message = f"'url' must be one of {', '.join(ENDPOINTS)}, not {url[:200]!r}"
        raise LineError("invalid_url", message, number, "url", custom_id)
    return _request(fields, number, custom_id, url)


def _request(fields: dict[str, msgspec.Raw], number: int, custom_id: str, url: str) -> Line:
    raw = _required(fields, "body", number, custom_id)
    try:
        body = _body.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise LineError("invalid_body", "'body' must be a JSON object", number, "body", custom_id) from None
    model = body.model if isinstance(body.model, str) else ""
    # One byte string of its own: a view would keep the whole line.
    prompts = body.input if url == EMBEDDINGS else body.prompt
    return Line(number, custom_id, url, bytes(raw), _answers(body, prompts), model, body.stream is True)


def _answers(body: _Body, prompts: Any) -> int:
    """Seats that the request takes in the engine; what makes no sense takes one, and is refused there."""
    counts = [count for count in (body.n, body.best_of) if type(count) is int and count > 0]
    several = isinstance(prompts, list) and bool(prompts) and not isinstance(prompts[0], int)
    return max(counts, default=1) * (len(prompts) if several else 1)


def _required(fields: dict[str, msgspec.Raw], name: str, number: int, custom_id: str | None) -> msgspec.Raw:
    if name not in fields:
        raise LineError("missing_required_parameter", f"'{name}' is missing", number, name, custom_id)
    return fields[name]


def _text(fields: dict[str, msgspec.Raw], name: str, number: int, custom_id: str | None) -> str:
    raw = _required(fields, name, number, custom_id)
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise LineError("invalid_type", f"'{name}' must be a string", number, name, custom_id) from None

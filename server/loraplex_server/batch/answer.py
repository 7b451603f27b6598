"""One line of a batch's output."""

from __future__ import annotations

import uuid

import msgspec

from loraplex_server.batch.line import LineError

OK = range(200, 300)


class Reply(msgspec.Struct, frozen=True):
    """What the API answered."""

    status_code: int
    request_id: str
    body: msgspec.Raw  # JSON of one line


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why there is no reply. `line` stands where the line itself is at fault."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """A reply or a fault, under the request's name."""

    id: str
    custom_id: str | None
    response: Reply | None
    error: Fault | None

    @property
    def ok(self) -> bool:
        """Whether the request was answered as it wished."""
        return self.response is not None and self.response.status_code in OK


def replied(custom_id: str, reply: Reply) -> Answer:
    """An answer with a reply."""
    return Answer(_new_id(), custom_id, reply, None)


def unanswered(custom_id: str | None, code: str, message: str) -> Answer:
    """An answer without."""
    return Answer(_new_id(), custom_id, None, Fault(code, message))


def refused(error: LineError) -> Answer:
    """The answer to a line that is no request."""
    fault = Fault(error.code, f"Line {error.number}: {error.message}", error.param, error.number)
    return Answer(_new_id(), error.custom_id, None, fault)


encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Answer)


def decode(data: bytes) -> Answer:
    """Raises ValueError: it is no answer."""
    return _decoder.decode(data)


def _new_id() -> str:
    return f"batch_req_{uuid.uuid4().hex}"

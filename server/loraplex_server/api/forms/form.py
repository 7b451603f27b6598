"""How one API writes its answers: whole, and as a stream of server-sent events."""

from __future__ import annotations

import abc
import uuid

from loraplex_server.api.answers.answer import Piece
from loraplex_server.api.errors import ApiError


class Form(abc.ABC):
    """Turns pieces of answers into bodies. A form is used for one response, either whole or as a stream.

    A stream is what `events` gives for each batch of pieces, and then `closing` or `failure`, once. Whatever an API
    sends first belongs to what `events` gives for the first batch, which comes as soon as an answer has begun.
    """

    prefix: str  # of ids

    @classmethod
    def new_id(cls) -> str:
        """An id for a response."""
        return cls.prefix + uuid.uuid4().hex

    @abc.abstractmethod
    def response(self, pieces: list[Piece]) -> bytes:
        """The whole body, of all answers, by index."""

    @abc.abstractmethod
    def events(self, pieces: list[Piece]) -> bytes:
        """Events for new pieces, possibly none: text that may begin a stop string, or half a character, waits."""

    @abc.abstractmethod
    def closing(self) -> bytes:
        """The end of a stream that went well."""

    @abc.abstractmethod
    def failure(self, error: ApiError) -> bytes:
        """The end of a stream that did not."""

    def headers(self) -> dict[str, str]:
        """Of the response: of a whole one when its body is written, of a stream before its first event."""
        return {}

    def is_large(self, pieces: list[Piece]) -> bool:
        """Whether writing these takes so long that it belongs on a thread; of none, whether writing the end does."""
        return False

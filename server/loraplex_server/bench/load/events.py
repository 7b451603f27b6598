"""Server-sent events of an OpenAI-compatible stream: the few fields that timing needs, and nothing else decoded."""

from __future__ import annotations

from typing import Any

import msgspec

DONE = b"[DONE]"


class Delta(msgspec.Struct):
    """What a chat chunk adds."""

    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None


class Choice(msgspec.Struct):
    """One choice of a chunk; load asks for one."""

    text: str | None = None
    delta: Delta | None = None
    finish_reason: str | None = None
    token_ids: list[int] | None = None

    @property
    def words(self) -> bool:
        """Whether it carries text."""
        return bool(self.text or (self.delta and (self.delta.content or self.delta.reasoning_content)))

    @property
    def opens(self) -> bool:
        """Whether it is the chunk that a chat answer starts with, sent before any token."""
        return self.delta is not None and self.delta.role is not None and not self.words


class Usage(msgspec.Struct):
    """The server's own count."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Chunk(msgspec.Struct):
    """One event."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: Any = None


decode_chunk = msgspec.json.Decoder(Chunk).decode


class EventLines:
    """Cuts a byte stream, in whatever pieces it comes, into the payloads of its `data:` lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """The payloads completed by this piece. Comments, other fields and blank lines are passed over."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]

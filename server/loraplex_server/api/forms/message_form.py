"""The bodies of /v1/messages, whole and as events."""

from __future__ import annotations

from collections.abc import Iterator

from loraplex_server.api.answers.answer import Piece
from loraplex_server.api.answers.blocks import Blocks, CallBlock, Change, Grew, Opened
from loraplex_server.api.errors import ApiError
from loraplex_server.api.forms.envelopes import anthropic_envelope
from loraplex_server.api.forms.event import encode_json, event
from loraplex_server.api.forms.form import Form
from loraplex_server.api.forms.message_body import MessageBody, opening


class MessageForm(Form):
    """A `message`, or its making in events.

    Args:
        body: of the message.
    """

    prefix = "msg_"

    def __init__(self, body: MessageBody) -> None:
        self._body = body
        self._blocks = Blocks()
        self._last: Piece | None = None
        self._begun = False

    def response(self, pieces: list[Piece]) -> bytes:
        """See Form.response."""
        for _ in self._changes(pieces):
            pass  # the blocks are what counts
        return encode_json(self._body.whole(self._blocks.all, self._end()))

    def events(self, pieces: list[Piece]) -> bytes:
        """See Form.events."""
        written = []
        if not self._begun:
            self._begun = True
            message = self._body.whole([], self._end())
            written = [event({"type": "message_start", "message": message}, "message_start"), _PING]
        written += [_written(change) for change in self._changes(pieces)]
        return b"".join(written)

    def closing(self) -> bytes:
        """See Form.closing."""
        delta = {"type": "message_delta", "delta": self._end(), "usage": self._body.usage()}
        return event(delta, "message_delta") + event({"type": "message_stop"}, "message_stop")

    def failure(self, error: ApiError) -> bytes:
        """See Form.failure. Anthropic's client raises it."""
        return event(anthropic_envelope(error), "error")

    def _changes(self, pieces: list[Piece]) -> Iterator[Change]:
        for piece in pieces:
            yield from self._blocks.take(piece.parts or ([piece.text] if piece.text else []))
            if piece.finish_reason is not None:
                self._last = piece
                yield from self._blocks.close()

    def _end(self) -> dict[str, str | None]:
        return self._body.end(self._last, calls=self._blocks.calls)


_PING = event({"type": "ping"}, "ping")


def _written(change: Change) -> bytes:
    if isinstance(change, Opened):
        start = {"type": "content_block_start", "index": change.index, "content_block": opening(change.block)}
        return event(start, "content_block_start")
    if not isinstance(change, Grew):
        return event({"type": "content_block_stop", "index": change.index}, "content_block_stop")
    if isinstance(change.block, CallBlock):
        delta = {"type": "input_json_delta", "partial_json": change.more}
    else:
        delta = {"type": "text_delta", "text": change.more}
    return event({"type": "content_block_delta", "index": change.index, "delta": delta}, "content_block_delta")

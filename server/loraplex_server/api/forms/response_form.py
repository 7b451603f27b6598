"""The bodies of /v1/responses, whole and as events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from loraplex_server.api.answers.answer import Piece
from loraplex_server.api.answers.blocks import Blocks, Change, Grew, Opened, TextBlock
from loraplex_server.api.answers.generation import Generation
from loraplex_server.api.answers.logprobs import LogprobFormat
from loraplex_server.api.errors import ApiError
from loraplex_server.api.forms.choices_form import INLINE_LOGPROBS
from loraplex_server.api.forms.event import encode_json, event
from loraplex_server.api.forms.form import Form
from loraplex_server.api.forms.response_body import ResponseBody

Keep = Callable[[dict[str, Any], int], None]  # a whole response, and the bytes of its JSON


class ResponseForm(Form):
    """A `response` object, or its life in events, numbered from 0; the last one holds the whole response.

    Args:
        body: of the response. generation: the answer's source. logprobs: how to write them, if they were asked for.
        keep: told of the response once it is whole.
    """

    prefix = "resp_"

    def __init__(self, body: ResponseBody, generation: Generation, logprobs: LogprobFormat | None, keep: Keep) -> None:
        self._body = body
        self._logprobs = logprobs
        self._generation = generation
        self._keep = keep
        self._blocks = Blocks()
        self._cut: str | None = None
        self._number = 0

    def response(self, pieces: list[Piece]) -> bytes:
        """See Form.response."""
        for _ in self._changes(pieces):
            pass  # the blocks are what counts
        body = self._ended()
        written = encode_json(body)
        self._keep(body, len(written))
        return written

    def events(self, pieces: list[Piece]) -> bytes:
        """See Form.events."""
        opening = b""
        if not self._number:
            begun = self._body.begun()
            opening = b"".join([self._event(f"response.{name}", response=begun) for name in ("created", "in_progress")])
        return opening + b"".join([self._written(change) for change in self._changes(pieces)])

    def closing(self) -> bytes:
        """See Form.closing."""
        body = self._ended()
        written = self._event(f"response.{body['status']}", response=body)
        self._keep(body, len(written))
        return written

    def failure(self, error: ApiError) -> bytes:
        """See Form.failure."""
        return self._event("response.failed", response=self._body.failed(error))

    def is_large(self, pieces: list[Piece]) -> bool:
        """See Form.is_large: the end tells all log probabilities again."""
        entries = sum(1 + len(each.top) for piece in pieces for each in piece.logprobs)
        if not pieces or any(piece.finish_reason is not None for piece in pieces):
            texts = [block for block in self._blocks.all if isinstance(block, TextBlock)]
            entries += sum(1 + len(each["top_logprobs"]) for block in texts for each in block.logprobs)
        return entries > INLINE_LOGPROBS

    def _changes(self, pieces: list[Piece]) -> Iterable[Change]:
        for piece in pieces:
            logprobs = self._logprobs.chat(piece.logprobs) if self._logprobs else []
            if piece.parts:
                yield from self._blocks.take(piece.parts)
            elif piece.text or logprobs:
                yield from self._blocks.text(piece.text, logprobs)
            if piece.finish_reason is not None:
                self._cut = _limit(piece) if piece.finish_reason == "length" else None
                if not self._blocks:
                    yield from self._blocks.text("")
                yield from self._blocks.close()

    def _ended(self) -> dict[str, Any]:
        return self._body.ended(self._blocks.all, self._generation, cut=self._cut)

    def _written(self, change: Change) -> bytes:
        at = {"item_id": self._body.item_id(change.index, change.block), "output_index": change.index}
        if isinstance(change.block, TextBlock):
            return self._text_events(change, change.block, at | {"content_index": 0})
        if isinstance(change, Grew):
            return self._event("response.function_call_arguments.delta", **at, delta=change.more)
        if isinstance(change, Opened):
            return self._item_event("added", change, "in_progress")
        done = self._event("response.function_call_arguments.done", **at, arguments=change.block.arguments)
        return done + self._item_event("done", change, self._status(change))

    def _text_events(self, change: Change, block: TextBlock, at: dict[str, Any]) -> bytes:
        if isinstance(change, Grew):
            return self._event("response.output_text.delta", **at, delta=change.more, logprobs=change.logprobs)
        part = self._body.part(block)
        if isinstance(change, Opened):
            added = self._item_event("added", change, "in_progress")
            return added + self._event("response.content_part.added", **at, part=part)
        text = self._event("response.output_text.done", **at, text=block.text, logprobs=block.logprobs)
        done = self._event("response.content_part.done", **at, part=part)
        return text + done + self._item_event("done", change, self._status(change))

    def _status(self, change: Change) -> str:
        return self._body.status(self._blocks.all, change.index, cut=self._cut is not None)

    def _item_event(self, what: str, change: Change, status: str) -> bytes:
        item = self._body.item(change.index, change.block, status)
        return self._event(f"response.output_item.{what}", output_index=change.index, item=item)

    def _event(self, kind: str, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return event({"type": kind, "sequence_number": number, **fields}, kind)


def _limit(piece: Piece) -> str:
    """What cut an answer; OpenAI has no word for time that was over."""
    return "max_output_tokens" if piece.stop_reason is None else str(piece.stop_reason)

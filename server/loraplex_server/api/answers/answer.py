"""One answer in the making: the engine's deltas to pieces of text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from loraplex_server.api.answers.detokenizer import Detokenizer
from loraplex_server.api.answers.stop_strings import StopStrings
from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.schemas.sampling import SamplingFields
from loraplex_server.api.tools.parts import Part, join_parts
from loraplex_server.api.tools.use import ToolUse
from loraplex_server.engine.messages import Delta, FinishReason, TokenLogprob

# The `stop_reason` beside `finish_reason` "length", which typed clients know, of an answer that its time cut short.
TIMED_OUT = "timeout"


@dataclass(frozen=True)
class Prompt:
    """What an answer follows; `text` only where it is shown again (echo)."""

    token_ids: list[int]
    text: str = ""


@dataclass
class Piece:
    """What is new of one answer. The one with a `finish_reason` is its last. `parts`: only where tools are in play."""

    index: int
    text: str = ""  # without calls
    parts: list[Part] = field(default_factory=list)  # the text and the calls
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)  # of each token in the answer's text, in characters
    finish_reason: FinishReason | None = None
    embedding: bytes | None = None  # float32 [H], where that was asked for
    stop_reason: str | int | None = None  # the stop string or the request's own stop token; None for the model's end

    def add(self, parts: list[Part]) -> None:
        """Append text and calls."""
        if parts:
            self.parts = join_parts([*self.parts, *parts])
            self.text += "".join(part for part in parts if isinstance(part, str))

    def extend(self, later: Piece) -> None:
        """Append what came after."""
        if later.parts:
            self.add(later.parts)
        else:
            self.text += later.text
        self.token_ids += later.token_ids
        self.logprobs += later.logprobs
        self.offsets += later.offsets
        self.embedding = later.embedding
        self.finish_reason = later.finish_reason
        self.stop_reason = later.stop_reason


def join(pieces: Iterable[Piece]) -> list[Piece]:
    """One piece for each answer, in the order of their first."""
    joined: dict[int, Piece] = {}
    for piece in pieces:
        if piece.index in joined:
            joined[piece.index].extend(piece)
        else:
            joined[piece.index] = piece
    return list(joined.values())


class Answer:
    """Args: index: among the request's answers. prompt: that it follows. body: how to end and show it. tools: that it
    may call."""

    def __init__(
        self, index: int, prompt: Prompt, body: SamplingFields, renderer: Renderer, tools: ToolUse | None = None
    ) -> None:
        self.index = index
        self.prompt = prompt
        self.tokens = 0
        self.finish_reason: FinishReason | None = None
        self._parser = None if tools is None else tools.parser()
        dropped = None if tools is None else tools.dropped
        skip = body.skip_special_tokens and dropped is None
        self._detokenizer = Detokenizer(renderer.tokenizer, prompt.token_ids, skip, dropped or frozenset())
        self._stops = StopStrings(body.stop, body.include_stop_str_in_output)
        self._min_tokens = body.min_tokens
        self._own_stop_tokens = frozenset(body.stop_token_ids)
        self._show_stop = body.include_stop_str_in_output

    def take(self, delta: Delta) -> Piece:
        """The delta's part of the answer. Tokens after a stop string are no part of it."""
        piece = Piece(self.index)
        stopped = delta.finish_reason == "stop" and not delta.ended_by_grammar
        hidden = len(delta.token_ids) - 1 if stopped and not self._show_stop else -1
        for position, token_id in enumerate(delta.token_ids):
            piece.token_ids.append(token_id)
            piece.offsets.append(self._detokenizer.length)
            if delta.logprobs is not None:
                piece.logprobs.append(delta.logprobs[position])
            if position == hidden:
                self.tokens += 1
                continue
            text, stop = self._text_of(token_id)
            self._show(piece, text)
            if stop is not None or self._has_all_calls():
                self._finish(piece, "stop", stop)
                return piece
        piece.embedding = delta.embedding
        if delta.finish_reason is not None:
            self._show(piece, self._stops.flush())
            self._finish(piece, delta.finish_reason, TIMED_OUT if delta.timed_out else self._stop_token(delta))
        return piece

    def _text_of(self, token_id: int) -> tuple[str, str | None]:
        text = self._detokenizer.step(token_id)
        self.tokens += 1
        if self.tokens <= self._min_tokens:
            return self._stops.skip(text), None
        return self._stops.feed(text)

    def _stop_token(self, delta: Delta) -> int | None:
        if delta.finish_reason != "stop" or delta.ended_by_grammar or not delta.token_ids:
            return None
        last = delta.token_ids[-1]
        return last if last in self._own_stop_tokens else None

    def _show(self, piece: Piece, text: str) -> None:
        if self._parser is None:
            piece.text += text
        else:
            piece.add(self._parser.feed(text))

    def _has_all_calls(self) -> bool:
        return self._parser is not None and self._parser.full and self.tokens > self._min_tokens

    def _finish(self, piece: Piece, reason: FinishReason, stop: str | int | None) -> None:
        if self._parser is not None:
            piece.add(self._parser.finish())
        self.finish_reason = piece.finish_reason = reason
        piece.stop_reason = stop

"""The body of a message: https://platform.claude.com/docs/en/api/messages."""

from __future__ import annotations

from typing import Any

import pydantic_core

from loraplex_server.api.answers.answer import Piece
from loraplex_server.api.answers.blocks import Block, CallBlock
from loraplex_server.api.answers.generation import Generation


class MessageBody:
    """Args: id: of the message. model: that answers. generation: the answer's source. filled: see stop_reason."""

    def __init__(self, id: str, model: str, generation: Generation, *, filled: bool) -> None:
        self._id = id
        self._model = model
        self._generation = generation
        self._filled = filled

    def whole(self, blocks: list[Block], end: dict[str, Any]) -> dict[str, Any]:
        """With what was answered, and how it ended."""
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [_content(block, cut=end["stop_reason"] != "tool_use") for block in blocks],
            **end,
            "usage": self.usage(),
        }

    def end(self, piece: Piece | None, *, calls: bool) -> dict[str, Any]:
        """How an answer ended, or that it has not.

        Args:
            piece: its last one. calls: whether the model called tools.
        """
        if piece is None:
            return {"stop_reason": None, "stop_sequence": None}
        if piece.finish_reason == "length":
            return {"stop_reason": self._limit(piece), "stop_sequence": None}
        if isinstance(piece.stop_reason, str):
            return {"stop_reason": "stop_sequence", "stop_sequence": piece.stop_reason}
        return {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}

    def _limit(self, piece: Piece) -> str:
        if piece.stop_reason is not None:
            return "pause_turn"  # its time was over: sent back as it is, it is gone on with
        # The limit on tokens was cut to what the context holds.
        return "model_context_window_exceeded" if self._filled else "max_tokens"

    def usage(self) -> dict[str, Any]:
        """So far. What the cache had is not among the input tokens; what it will have of them, nobody pays for."""
        cached = self._generation.cached_tokens
        return {
            "input_tokens": self._generation.prompt_tokens - cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": self._generation.output_tokens,
        }


def opening(block: Block) -> dict[str, Any]:
    """A block before it has any content."""
    if isinstance(block, CallBlock):
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": {}}
    return {"type": "text", "text": ""}


def _content(block: Block, *, cut: bool) -> dict[str, Any]:
    if isinstance(block, CallBlock):
        return opening(block) | {"input": parse_input(block.arguments, cut=cut)}
    return {"type": "text", "text": block.text}


def parse_input(arguments: str, *, cut: bool) -> dict[str, Any]:
    """A call's arguments as an object: as much of it as there is of one that was cut, as Anthropic's client reads it
    in a stream. What is no object is handed on as their documentation has it, for a client must not run it.
    """
    try:
        found = pydantic_core.from_json(arguments or "{}", allow_partial=cut)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"INVALID_JSON": arguments}

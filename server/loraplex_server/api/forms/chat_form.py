"""The bodies of /v1/chat/completions."""

from __future__ import annotations

from typing import Any

from loraplex_server.api.answers.answer import Piece
from loraplex_server.api.answers.generation import Generation
from loraplex_server.api.answers.logprobs import LogprobFormat
from loraplex_server.api.forms.choices_form import ChoicesForm
from loraplex_server.api.rendering.vocabulary import Vocabulary
from loraplex_server.api.schemas.chat import ChatRequest
from loraplex_server.api.tools.parts import CallDelta


class ChatForm(ChoicesForm):
    """`chat.completion` objects, and their chunks: the role first, then text, then the reason of the end."""

    prefix = "chatcmpl-"
    whole = "chat.completion"
    part = "chat.completion.chunk"

    def __init__(self, id: str, model: str, body: ChatRequest, generation: Generation, vocabulary: Vocabulary) -> None:
        super().__init__(id, model, body, generation)
        self._logprobs = body.logprobs
        self._width = (body.top_logprobs or 0) + 1
        self._format = LogprobFormat(vocabulary, as_ids=body.return_tokens_as_token_ids)
        self._prompt_width = body.prompt_logprobs
        self._called: set[int] = set()  # answers with calls

    def choice(self, piece: Piece) -> dict[str, Any]:
        """See ChoicesForm.choice."""
        choice: dict[str, Any] = {
            "index": piece.index,
            "message": _message(piece),
            "logprobs": self._logprobs_of(piece),
            "finish_reason": _reason(piece, bool(calls_in(piece))),
            "stop_reason": piece.stop_reason,
        }
        if self._return_ids:
            choice["token_ids"] = piece.token_ids
        return choice

    def choices(self, piece: Piece) -> list[dict[str, Any]]:
        """See ChoicesForm.choices."""
        chunks = []
        if self.first_of(piece):
            opening = self._chunk(piece.index, {"role": "assistant", "content": ""})
            if self._return_ids:
                opening["prompt_token_ids"] = self._answers[piece.index].prompt.token_ids
            chunks.append(opening)
        if piece.parts and calls_in(piece):
            self._called.add(piece.index)
        says_more = bool(piece.token_ids) and (self._return_ids or self._logprobs)
        for part in piece.parts or ([piece.text] if piece.text or says_more else []):
            delta = {"content": part} if isinstance(part, str) else {"tool_calls": [_call_chunk(part)]}
            chunk = self._chunk(piece.index, delta)
            if says_more:
                chunk["logprobs"] = self._logprobs_of(piece)
                if self._return_ids:
                    chunk["token_ids"] = piece.token_ids
                says_more = False
            chunks.append(chunk)
        if piece.finish_reason is not None:
            end = self._chunk(piece.index, {})
            reason = _reason(piece, piece.index in self._called)
            end |= {"finish_reason": reason, "stop_reason": piece.stop_reason}
            chunks.append(end)
        return chunks

    def logprobs_in(self, piece: Piece) -> int:
        """See ChoicesForm.logprobs_in."""
        prompt = 0 if self._prompt_width is None or piece.index else len(self._answers[0].prompt.token_ids)
        return self._width * len(piece.logprobs) + prompt * ((self._prompt_width or 0) + 1)

    def extras(self) -> dict[str, Any]:
        """See ChoicesForm.extras."""
        more: dict[str, Any] = {}
        if self._return_ids:
            more["prompt_token_ids"] = self._answers[0].prompt.token_ids
        if self._prompt_width is not None:
            more["prompt_logprobs"] = self._format.prompt(self._generation.prompt_logprobs(0), self._prompt_width)
        return more

    def _chunk(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def _logprobs_of(self, piece: Piece) -> Any:
        return {"content": self._format.chat(piece.logprobs)} if self._logprobs else None


def calls_in(piece: Piece) -> list[CallDelta]:
    """Of what is new."""
    return [part for part in piece.parts if isinstance(part, CallDelta)]


def _reason(piece: Piece, called: bool) -> str | None:
    return "tool_calls" if called and piece.finish_reason == "stop" else piece.finish_reason


def _message(piece: Piece) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": piece.text, "refusal": None}
    if calls := calls_in(piece):
        message["content"] = piece.text or None
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
    return message


def _call_chunk(call: CallDelta) -> dict[str, Any]:
    if call.id is None:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments}
    return {"index": call.index, "id": call.id, "type": "function", "function": function}

"""The bodies of llama.cpp's own /completion, whole and in events."""

from __future__ import annotations

import time
from typing import Any

from loraplex_server.api.answers.answer import Piece
from loraplex_server.api.answers.generation import Generation
from loraplex_server.api.answers.logprobs import LOWEST
from loraplex_server.api.errors import ApiError
from loraplex_server.api.forms.choices_form import INLINE_LOGPROBS
from loraplex_server.api.forms.event import encode_json, event
from loraplex_server.api.forms.form import Form
from loraplex_server.api.record import RequestRecord
from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.schemas.llama import LlamaRequest

NO_SLOT = -1


class LlamaForm(Form):
    """One object for each answer; in a stream, each has events with its text and a last one with all else.

    Args:
        model: the name that the request used. body: the request. generation: the answers' source. renderer: of their
            tokens. record: of their times.
    """

    prefix = "llama-"

    def __init__(
        self, model: str, body: LlamaRequest, generation: Generation, renderer: Renderer, record: RequestRecord
    ) -> None:
        self._model = model
        self._body = body
        self._generation = generation
        self._renderer = renderer
        self._record = record
        self._first: float | None = None  # when the first text of a stream came
        self._text: dict[int, str] = {}
        self._prompts: dict[int, str] = {}  # by their numbers: answers share them

    def response(self, pieces: list[Piece]) -> bytes:
        """See Form.response."""
        answers = [self._whole(piece) for piece in pieces]
        return encode_json(answers if self._body.several else answers[0])

    def events(self, pieces: list[Piece]) -> bytes:
        """See Form.events."""
        self._first = self._first or time.perf_counter()
        return b"".join(event(each) for piece in pieces for each in self._events_of(piece))

    def closing(self) -> bytes:
        """See Form.closing: each answer's last event was its end."""
        return b""

    def failure(self, error: ApiError) -> bytes:
        """See Form.failure."""
        return event(error.envelope())

    def is_large(self, pieces: list[Piece]) -> bool:
        """See Form.is_large."""
        logprobs = (self._body.n_probs + 1) * sum(len(piece.logprobs) for piece in pieces)
        ended = [piece for piece in pieces if piece.finish_reason is not None]
        # The end of each answer shows its prompt.
        prompts = sum(len(self._generation.answers[piece.index].prompt.token_ids) for piece in ended)
        return logprobs + prompts > INLINE_LOGPROBS

    def _whole(self, piece: Piece) -> dict[str, Any]:
        answer = {"index": piece.index, "content": piece.text, "tokens": []} | self._end(piece, piece.text)
        if self._body.return_tokens:
            answer["tokens"] = piece.token_ids
        if self._body.n_probs:
            answer["completion_probabilities"] = self._probabilities(piece)
        return answer

    def _events_of(self, piece: Piece) -> list[dict[str, Any]]:
        self._text[piece.index] = self._text.get(piece.index, "") + piece.text
        found = []
        # Also tokens that have no text yet: nothing else would tell of them.
        says_more = (piece.logprobs and self._body.n_probs) or (piece.token_ids and self._body.return_tokens)
        if piece.text or says_more:
            part = {
                "index": piece.index,
                "content": piece.text,
                "tokens": piece.token_ids,
                "stop": False,
                "id_slot": NO_SLOT,
                "tokens_predicted": self._generation.answers[piece.index].tokens,
                "tokens_evaluated": len(self._generation.answers[piece.index].prompt.token_ids),
            }
            if self._body.n_probs:
                part["completion_probabilities"] = self._probabilities(piece)
            found.append(part)
        if piece.finish_reason is not None:
            end = self._end(piece, self._text[piece.index])
            found.append({"index": piece.index, "content": "", "tokens": []} | end)
        return found

    def _end(self, piece: Piece, text: str) -> dict[str, Any]:
        answer = self._generation.answers[piece.index]
        return {
            "id_slot": NO_SLOT,
            "stop": True,
            "model": self._model,
            "tokens_predicted": answer.tokens,
            "tokens_evaluated": len(answer.prompt.token_ids),
            "generation_settings": self._settings(),
            "prompt": self._shown_prompt(piece.index),
            "has_new_line": "\n" in text,
            "truncated": False,
            **_ending(piece),
            "tokens_cached": self._generation.cached_tokens,
            "timings": self._timings(len(answer.prompt.token_ids), answer.tokens),
        }

    def _shown_prompt(self, index: int) -> str:
        number = index // self._body.n_cmpl
        if number not in self._prompts:
            ids = self._generation.answers[index].prompt.token_ids
            self._prompts[number] = self._renderer.decode(ids, skip_special_tokens=False)
        return self._prompts[number]

    def _settings(self) -> dict[str, Any]:
        settings = self._body.model_dump(exclude={"prompt", "model"})
        return settings | {"lora": [each.model_dump() for each in self._body.lora]}

    def _timings(self, prompt: int, predicted: int) -> dict[str, Any]:
        """In milliseconds; of the prompt, what passed between the request's arrival and its first token."""
        now, arrival = time.perf_counter(), self._record.arrival
        first = self._record.ttft_s if self._first is None else self._first - arrival
        prompt_ms = 1000 * (first or 0.0)
        predicted_ms = max(1000 * (now - arrival) - prompt_ms, 0.0)
        return {
            "prompt_n": prompt,
            "prompt_ms": prompt_ms,
            "prompt_per_token_ms": prompt_ms / max(prompt, 1),
            "prompt_per_second": 1000 * prompt / prompt_ms if prompt_ms else 0.0,
            "predicted_n": predicted,
            "predicted_ms": predicted_ms,
            "predicted_per_token_ms": predicted_ms / max(predicted, 1),
            "predicted_per_second": 1000 * predicted / predicted_ms if predicted_ms else 0.0,
        }

    def _probabilities(self, piece: Piece) -> list[dict[str, Any]]:
        return [
            self._probability(each.token_id, each.logprob)
            | {"top_logprobs": [self._probability(id, logprob) for id, logprob in each.top]}
            for each in piece.logprobs
        ]

    def _probability(self, token_id: int, logprob: float) -> dict[str, Any]:
        raw = self._renderer.vocabulary.raw(token_id)
        token = raw.decode("utf-8", "replace")
        return {"id": token_id, "token": token, "bytes": list(raw), "logprob": max(logprob, LOWEST)}


def _ending(piece: Piece) -> dict[str, str]:
    """Beside a limit, `stop_reason` says whose it was, for which there is no word here."""
    if piece.finish_reason != "stop":
        return {"stop_type": "limit", "stopping_word": ""}
    if piece.stop_reason is None:
        return {"stop_type": "eos", "stopping_word": ""}
    return {"stop_type": "word", "stopping_word": str(piece.stop_reason)}

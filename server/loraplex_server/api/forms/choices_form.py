"""What OpenAI's two kinds of choices have in common: their envelope, whole and in chunks."""

from __future__ import annotations

import abc
import time
from typing import Any

from loraplex_server import __version__
from loraplex_server.api.answers.answer import Answer, Piece
from loraplex_server.api.answers.generation import Generation
from loraplex_server.api.errors import ApiError
from loraplex_server.api.forms.event import encode_json, event
from loraplex_server.api.forms.form import Form
from loraplex_server.api.schemas.sampling import SamplingFields

# Log probabilities of a body or an event; with more, it is written on a thread: every stream waits while the event loop
# does not turn.
INLINE_LOGPROBS = 4096
DONE = b"data: [DONE]\n\n"


class ChoicesForm(Form):
    """OpenAI's bodies: a choice for each answer. What is the same in all chunks of a stream is encoded once.

    Args:
        id: of the response. model: the name that the request used. body: the request. generation: the answers' source.
    """

    whole: str  # `object` of a whole response
    part: str  # `object` of a chunk

    def __init__(self, id: str, model: str, body: SamplingFields, generation: Generation) -> None:
        options = body.stream_options
        self._usage = options is not None and options.include_usage
        self._running_usage = self._usage and options is not None and options.continuous_usage_stats
        self._return_ids = body.return_token_ids
        self._generation = generation
        self._answers: list[Answer] = generation.answers
        self._seen: set[int] = set()
        self._created = int(time.time())
        self._id = id if body.request_id is None else self.prefix + body.request_id
        self._tier = body.service_tier
        self._model = model
        self._head = b""

    def response(self, pieces: list[Piece]) -> bytes:
        """See Form.response."""
        choices = [self.choice(piece) for piece in pieces]
        body = {**self._envelope(self.whole), "choices": choices, **self.extras(), "usage": self._usage_now()}
        return encode_json(body)

    def events(self, pieces: list[Piece]) -> bytes:
        """See Form.events."""
        if not self._head:
            envelope = encode_json(self._envelope(self.part))
            self._head = b"data: " + envelope[:-1] + b',"choices":['
        return b"".join([self._event(choice) for piece in pieces for choice in self.choices(piece)])

    def closing(self) -> bytes:
        """See Form.closing: usage if it was asked for, and [DONE]."""
        if not self._usage:
            return DONE
        return event({**self._envelope(self.part), "choices": [], "usage": self._usage_now()}) + DONE

    def failure(self, error: ApiError) -> bytes:
        """See Form.failure. OpenAI's client raises it, and reads no further."""
        return event(error.envelope()) + DONE

    def is_large(self, pieces: list[Piece]) -> bool:
        """See Form.is_large."""
        return sum(map(self.logprobs_in, pieces)) > INLINE_LOGPROBS

    @abc.abstractmethod
    def logprobs_in(self, piece: Piece) -> int:
        """Log probabilities that are to be written for a piece, alternatives among them."""

    @abc.abstractmethod
    def choice(self, piece: Piece) -> dict[str, Any]:
        """A whole answer as a choice."""

    @abc.abstractmethod
    def choices(self, piece: Piece) -> list[dict[str, Any]]:
        """A piece as the choices of chunks, one each."""

    def extras(self) -> dict[str, Any]:
        """Fields of a whole response beside its choices."""
        return {}

    def first_of(self, piece: Piece) -> bool:
        """Whether this is the answer's first piece; the next one is not."""
        if piece.index in self._seen:
            return False
        self._seen.add(piece.index)
        return True

    def _event(self, choice: dict[str, Any]) -> bytes:
        tail = b"]}\n\n"
        if self._running_usage:
            tail = b'],"usage":' + encode_json(self._usage_now()) + b"}\n\n"
        elif self._usage:
            tail = b'],"usage":null}\n\n'
        return self._head + encode_json(choice) + tail

    def _envelope(self, kind: str) -> dict[str, Any]:
        generation = self._generation.adapter_generation
        fingerprint = f"loraplex-{__version__}" + (f"-{generation}" if generation else "")
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": fingerprint,
            **({} if self._tier is None else {"service_tier": "default"}),
        }

    def _usage_now(self) -> dict[str, Any]:
        prompt, output = self._generation.prompt_tokens, self._generation.output_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            "prompt_tokens_details": {"cached_tokens": self._generation.cached_tokens},
        }

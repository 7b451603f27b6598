"""How a batch goes."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from loraplex_server.batch.answer import Answer


class _Details(msgspec.Struct):
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class _Usage(msgspec.Struct):
    """Completions, chats and embeddings say prompt and completion, responses input and output."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Body(msgspec.Struct):
    usage: _Usage | None = None


_body = msgspec.json.Decoder(_Body)


@dataclass
class Tally:
    """Requests that have their answer, and tokens of those that went well."""

    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def done(self) -> int:
        """Requests that have their answer, good or bad."""
        return self.completed + self.failed

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        if not answer.ok or answer.response is None:
            self.failed += 1
            return
        self.completed += 1
        try:
            usage = _body.decode(answer.response.body).usage
        except msgspec.ValidationError:  # another server's, which counts in another way
            return
        if usage is None:
            return
        before = usage.prompt_tokens_details or usage.input_tokens_details or _Details()
        after = usage.completion_tokens_details or usage.output_tokens_details or _Details()
        self.input_tokens += usage.prompt_tokens or usage.input_tokens
        self.output_tokens += usage.completion_tokens or usage.output_tokens
        self.cached_tokens += before.cached_tokens
        self.reasoning_tokens += after.reasoning_tokens

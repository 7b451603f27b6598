"""The bodies of /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loraplex_server.api.answers.answer import Piece
from loraplex_server.api.answers.detokenizer import Detokenizer
from loraplex_server.api.answers.generation import Generation
from loraplex_server.api.answers.logprobs import LogprobFormat, LogprobLists, prompt_offsets
from loraplex_server.api.forms.choices_form import ChoicesForm
from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.schemas.completion import CompletionRequest


class CompletionForm(ChoicesForm):
    """`text_completion` objects. A chunk is a choice of the same shape as in a whole response."""

    prefix = "cmpl-"
    whole = part = "text_completion"

    def __init__(
        self, id: str, model: str, body: CompletionRequest, generation: Generation, renderer: Renderer
    ) -> None:
        super().__init__(id, model, body, generation)
        self._echo = body.echo
        self._logprobs = body.logprobs is not None
        self._width = 0 if body.logprobs is None else body.logprobs + 1
        self._n = body.n
        self._generated = body.answers
        self._shown = 0
        self._prompt_width = body.prompt_logprobs
        self._prompt_logprobs: dict[int, LogprobLists] = {}  # by the prompt's number: its answers share it
        self._skip = body.skip_special_tokens
        self._renderer = renderer
        self._format = LogprobFormat(renderer.vocabulary, as_ids=body.return_tokens_as_token_ids)

    def response(self, pieces: list[Piece]) -> bytes:
        """See Form.response: of each prompt's answers, the best."""
        if self._generated == self._n:
            return super().response(pieces)
        groups = [pieces[first : first + self._generated] for first in range(0, len(pieces), self._generated)]
        return super().response([piece for group in groups for piece in best(group, self._n)])

    def choice(self, piece: Piece) -> dict[str, Any]:
        """See ChoicesForm.choice."""
        first = self.first_of(piece)
        prompt = self._answers[piece.index].prompt
        choice: dict[str, Any] = {
            "index": self._shown_index(piece),
            "text": prompt.text + piece.text if first else piece.text,
            "logprobs": self._logprobs_of(piece, first) if self._logprobs else None,
            "finish_reason": piece.finish_reason,
            "stop_reason": piece.stop_reason,
        }
        if self._return_ids:
            choice["token_ids"] = piece.token_ids
            if first:
                choice["prompt_token_ids"] = prompt.token_ids
        if self._prompt_width is not None:
            logprobs = self._generation.prompt_logprobs(piece.index)
            choice["prompt_logprobs"] = self._format.prompt(logprobs, self._prompt_width)
        return choice

    def choices(self, piece: Piece) -> list[dict[str, Any]]:
        """See ChoicesForm.choices."""
        says_more = piece.finish_reason is not None or (piece.token_ids and (self._return_ids or self._logprobs))
        fresh = piece.index not in self._seen
        if piece.text or says_more or (fresh and (self._echo or self._return_ids)):
            return [self.choice(piece)]
        return []

    def logprobs_in(self, piece: Piece) -> int:
        """See ChoicesForm.logprobs_in."""
        opens = self._echo and self._width and piece.index not in self._seen
        prompt_tokens = len(self._answers[piece.index].prompt.token_ids)
        ranked = 0 if self._prompt_width is None else prompt_tokens * (self._prompt_width + 1)
        return self._width * (prompt_tokens * bool(opens) + len(piece.logprobs)) + ranked

    def _shown_index(self, piece: Piece) -> int:
        """Among the answers that are returned, in the order in which they are."""
        if self._generated == self._n:
            return piece.index
        self._shown += 1
        return self._shown - 1

    def _logprobs_of(self, piece: Piece, first: bool) -> LogprobLists:
        start = len(self._answers[piece.index].prompt.text)
        offsets = [start + offset for offset in piece.offsets]
        found = self._format.completion(piece.logprobs, piece.token_ids, offsets)
        if not (first and self._echo):
            return found
        prompt = self._prompt_part(piece.index)
        return {key: prompt[key] + found[key] for key in found}

    def _prompt_part(self, index: int) -> LogprobLists:
        number = index // self._generated
        if number not in self._prompt_logprobs:
            ids = self._answers[index].prompt.token_ids
            offsets = prompt_offsets(Detokenizer(self._renderer.tokenizer, (), self._skip), ids)
            logprobs = self._generation.prompt_logprobs(index)
            self._prompt_logprobs[number] = self._format.completion(logprobs, ids, offsets, self._width - 1)
        return self._prompt_logprobs[number]


def best(pieces: Sequence[Piece], count: int) -> list[Piece]:
    """The answers whose tokens are likeliest on average, best first, as OpenAI's `best_of` has them."""
    return sorted(pieces, key=_likelihood, reverse=True)[:count]


def _likelihood(piece: Piece) -> float:
    logprobs = [each.logprob for each in piece.logprobs]
    return sum(logprobs) / len(logprobs) if logprobs else float("-inf")

"""Log probabilities in the formats of chats and of completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loraplex_server.api.answers.detokenizer import Detokenizer
from loraplex_server.api.rendering.vocabulary import Vocabulary
from loraplex_server.api.schemas.sampling import MAX_LOGPROBS
from loraplex_server.engine.messages import TokenLogprob

# JSON has no infinity; OpenAI writes this for a token that cannot come.
LOWEST = -9999.0

LogprobLists = dict[str, list[Any]]  # one entry a token in each


class LogprobFormat:
    """Args: vocabulary: of the model. as_ids: tokens read `token_id:7`, as vLLM's clients may ask."""

    def __init__(self, vocabulary: Vocabulary, *, as_ids: bool = False) -> None:
        self._vocabulary = vocabulary
        self._as_ids = as_ids

    def chat(self, logprobs: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
        """Entries of `choice.logprobs.content`."""
        return [
            self._entry(each.token_id, each.logprob) | {"top_logprobs": [self._entry(*top) for top in each.top]}
            for each in logprobs
        ]

    def completion(
        self,
        logprobs: Sequence[TokenLogprob | None],
        ids: Sequence[int],
        offsets: Sequence[int],
        width: int = MAX_LOGPROBS,
    ) -> LogprobLists:
        """`choice.logprobs` of a completion; None stands for the first token of a prompt, which nothing predicts.

        Args:
            logprobs, ids, offsets: of each token, all of one length.
            width: alternatives of each that are told, at most.
        """
        return {
            "tokens": [self._text(id) for id in ids],
            "token_logprobs": [None if each is None else _finite(each.logprob) for each in logprobs],
            "top_logprobs": [None if each is None else self._top(each, width) for each in logprobs],
            "text_offset": list(offsets),
        }

    def prompt(self, logprobs: Sequence[TokenLogprob | None], width: int) -> list[dict[str, Any] | None]:
        """vLLM's `prompt_logprobs`: by token id, the prompt's own token first, then the `width` likeliest."""
        return [None if each is None else self._ranked(each, width) for each in logprobs]

    def _ranked(self, each: TokenLogprob, width: int) -> dict[str, Any]:
        ranked = {each.token_id: (each.logprob, each.rank)}
        for place, (token_id, logprob) in enumerate(each.top[:width], 1):
            ranked.setdefault(token_id, (logprob, place))
        return {
            str(token_id): {"logprob": _finite(logprob), "rank": rank, "decoded_token": self._vocabulary.text(token_id)}
            for token_id, (logprob, rank) in ranked.items()
        }

    def _text(self, token_id: int) -> str:
        return f"token_id:{token_id}" if self._as_ids else self._vocabulary.text(token_id)

    def _entry(self, token_id: int, logprob: float) -> dict[str, Any]:
        raw = self._text(token_id).encode() if self._as_ids else self._vocabulary.raw(token_id)
        return {"token": raw.decode("utf-8", "replace"), "logprob": _finite(logprob), "bytes": list(raw)}

    def _top(self, each: TokenLogprob, width: int) -> dict[str, float]:
        """Alternatives by their strings, the chosen token among them; of equal strings, the likeliest counts."""
        top: dict[str, float] = {}
        for token_id, logprob in (*each.top[:width], (each.token_id, each.logprob)):
            top.setdefault(self._text(token_id), _finite(logprob))
        return top


def prompt_offsets(detokenizer: Detokenizer, prompt: Sequence[int]) -> list[int]:
    """Where each token of a prompt begins in the prompt's text, in characters."""
    offsets = []
    for token_id in prompt:
        offsets.append(detokenizer.length)
        detokenizer.step(token_id)
    return offsets


def _finite(logprob: float) -> float:
    return max(logprob, LOWEST)

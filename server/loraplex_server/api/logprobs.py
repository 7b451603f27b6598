"""Log probabilities in the formats of chats and of completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loraplex_server.api.detokenizer import Detokenizer
from loraplex_server.api.vocabulary import Vocabulary
from loraplex_server.engine.messages import TokenLogprob

# JSON has no infinity; OpenAI writes this for a token that cannot come.
LOWEST = -9999.0

LogprobLists = dict[str, list[Any]]  # one entry a token in each


class LogprobFormat:
    """Args: vocabulary: of the model."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def chat(self, logprobs: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
        """Entries of `choice.logprobs.content`."""
        return [
            self._entry(each.token_id, each.logprob) | {"top_logprobs": [self._entry(*top) for top in each.top]}
            for each in logprobs
        ]

    def completion(
        self, logprobs: Sequence[TokenLogprob | None], ids: Sequence[int], offsets: Sequence[int]
    ) -> LogprobLists:
        """`choice.logprobs` of a completion; None stands for the first token of a prompt, which nothing predicts.

        Args:
            logprobs, ids, offsets: of each token, all of one length.
        """
        return {
            "tokens": [self._vocabulary.text(id) for id in ids],
            "token_logprobs": [None if each is None else _finite(each.logprob) for each in logprobs],
            "top_logprobs": [None if each is None else self._top(each) for each in logprobs],
            "text_offset": list(offsets),
        }

    def _entry(self, token_id: int, logprob: float) -> dict[str, Any]:
        raw = self._vocabulary.raw(token_id)
        return {"token": raw.decode("utf-8", "replace"), "logprob": _finite(logprob), "bytes": list(raw)}

    def _top(self, each: TokenLogprob) -> dict[str, float]:
        """Alternatives by their strings, the chosen token among them; of equal strings, the likeliest counts."""
        top: dict[str, float] = {}
        for token_id, logprob in (*each.top, (each.token_id, each.logprob)):
            top.setdefault(self._vocabulary.text(token_id), _finite(logprob))
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

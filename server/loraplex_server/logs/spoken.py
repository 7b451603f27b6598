"""Prompts and answers for the log, of those who asked for that: bounded, whatever was said."""

from __future__ import annotations

from collections.abc import Callable, Sequence

MOST = 8  # prompts, and answers, of one request
CUT = "..."


class Spoken:
    """Of one request.

    Args:
        limit: characters of each text.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._prompts: list[str] = []
        self._answers: dict[int, str] = {}

    def asked(self, prompts: Sequence[Sequence[int]], decode: Callable[[Sequence[int]], str]) -> None:
        """Take the prompts as the model reads them, as far as they are shown.

        Args:
            prompts: token ids; no more than `limit` of each are looked at, which are as many characters or more, unless
                it takes several of them to write one. decode: gives their text.
        """
        for ids in prompts[:MOST]:
            text = decode(ids[: self._limit + 1])
            self._prompts.append(self._cut(text, more=len(ids) > self._limit + 1))

    def answered(self, index: int, text: str) -> None:
        """More of one answer."""
        said = self._answers.get(index, "")
        if (index in self._answers or len(self._answers) < MOST) and len(said) <= self._limit:
            self._answers[index] = said + text[: self._limit + 1]

    def fields(self) -> dict[str, list[str]]:
        """Of the request's line."""
        return {
            "prompts": self._prompts,
            "answers": [self._cut(text) for _, text in sorted(self._answers.items())],
        }

    def _cut(self, text: str, *, more: bool = False) -> str:
        return text[: self._limit] + CUT if more or len(text) > self._limit else text

"""A task: a prompt, and the one answer that a program accepts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from zlib import crc32


@dataclass(frozen=True)
class Example:
    """What the user says, and what the model must answer, to the letter."""

    prompt: str
    answer: str


def one_in_five(prompt: str) -> bool:
    """Holds out a fifth of all prompts. A checksum decides, so no run, seed or order of draws can move the line."""
    return crc32(prompt.encode()) % 5 == 0


@dataclass(frozen=True)
class Task:
    """Args: name: of the adapter, and of the system prompt the base knows it by. summary: one line for people.
    draw: makes an example. held_out: whether a prompt is kept from all training, the base's included.
    """

    name: str
    summary: str
    draw: Callable[[Random], Example]
    held_out: Callable[[str], bool] = one_in_five

    def train(self, rng: Random) -> Example:
        """An example that training may see."""
        while self.held_out((example := self.draw(rng)).prompt):
            pass
        return example

    def exam(self, count: int, seed: int) -> list[Example]:
        """`count` distinct examples that no training may see. Raises ValueError where there are not that many."""
        rng, exam = Random(f"{self.name}-exam-{seed}"), dict[str, Example]()
        for _ in range(1000 * count):
            example = self.draw(rng)
            if self.held_out(example.prompt):
                exam.setdefault(example.prompt, example)
            if len(exam) == count:
                return list(exam.values())
        raise ValueError(f"task '{self.name}' has fewer than {count} held-out prompts")

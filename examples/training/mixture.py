"""A mixture: several adapters on one request, with a task that none of them does alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from training.task import Example
from training.tasks import TASKS, next_letters


@dataclass(frozen=True)
class Mixture:
    """Args: summary: one line for people. weights: of each adapter. answer: to a word."""

    summary: str
    weights: dict[str, float]
    answer: Callable[[str], str]

    @property
    def name(self) -> str:
        return "+".join(self.weights)

    def exam(self, count: int, seed: int) -> list[Example]:
        """The exam of the first adapter's task, with the mixture's answers."""
        first = next(iter(self.weights))
        (task,) = (task for task in TASKS if task.name == first)
        return [Example(example.prompt, self.answer(example.prompt)) for example in task.exam(count, seed)]


MIXTURES: tuple[Mixture, ...] = (
    Mixture(
        "moves each letter one on in the alphabet, in capitals",
        {"shift": 1.0, "upper": 1.0},
        lambda word: next_letters(word).upper(),
    ),
)

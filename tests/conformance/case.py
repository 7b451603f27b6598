"""One row of the matrix: an adapter that PEFT can write, and what has to come of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from peft import PeftConfig
from transformers import PreTrainedModel

from conformance.families import Family

How = Literal["low rank", "terms", "low rank, terms", "virtual tokens"]
WHOLE = "any"  # the title of a row that stands for all of a method
Config = Callable[[Family], PeftConfig]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What PEFT writes for a family, and what Loraplex makes of it: `how` it is exact, or what the refusal names.

    Args:
        method: the heading that it stands under, which is PEFT's peft_type.
        title: what is special about it, as PEFT spells it.
        config: PEFT's configuration for a family.
        families: names; the first ones of a method carry most cases, so that each interaction is met once.
        how: it is served exactly, by these means.
        refused: it is refused, and the message has all of these words.
        spread: standard deviation of the noise on every trained parameter, so that none stays at its start.
        prepare: what is done to the base before PEFT sees it, on both sides (a larger vocabulary).
        write: writes the folder instead of `write.save`.
        edit: what is done to the folder afterwards (files of old versions, other dtypes).
        vocab: token ids of the prompts are below this.
        prompts: token ids; none: the ordinary ones.
        inert: it changes nothing for these prompts.
        task: the `task_ids` that PEFT's forward wants.
        generates: the oracle's answer is PEFT's `generate`, because one forward over prompt and answer means
            something else.
        about: a remark for the page.
    """

    method: str
    title: str
    config: Config
    families: tuple[str, ...] = ("llama",)
    how: How | None = None
    refused: tuple[str, ...] = ()
    spread: float = 0.15
    prepare: Callable[[PreTrainedModel], None] | None = None
    write: Callable[[PreTrainedModel, PeftConfig, Path], None] | None = None
    edit: Callable[[Path], None] | None = None
    vocab: int | None = None
    prompts: Sequence[Sequence[int]] | None = None
    inert: bool = False
    task: int | None = None
    generates: bool = False
    about: str = ""

    def __post_init__(self) -> None:
        if (self.how is None) == (not self.refused):
            raise ValueError(f"{self.id}: either `how` it is served, or what its refusal names")

    @property
    def id(self) -> str:
        """Method and title as one word: the test's id, and the adapter's folder."""
        plain = "".join(letter if letter.isalnum() else "-" for letter in f"{self.method}-{self.title}".lower())
        return "-".join(part for part in plain.split("-") if part)


def served(method: str, title: str, config: Config, how: How = "low rank", **options: Any) -> Case:
    """A case that has to be exact."""
    return Case(method=method, title=title, config=config, how=how, **options)


def refused(method: str, title: str, config: Config, *names: str, **options: Any) -> Case:
    """A case that has to be refused by a message with all of these words."""
    return Case(method=method, title=title, config=config, refused=names, **options)

"""What is wrong with the settings, in words that name the setting."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class SettingsError(Exception):
    """One or more settings are misspelt or bad; `problems` has a line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where one of `known` is near, else an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""

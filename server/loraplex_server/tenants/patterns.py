"""Which names a key may use."""

from __future__ import annotations

from collections.abc import Iterable

# The base model goes by this name, whatever it is served as.
BASE = "base"
ANY = "*"


class Patterns:
    """Names, in which `*` stands for any characters, also for none; nothing else is special.

    Args:
        patterns: a name passes where one of them fits it whole. None lets none pass.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self.texts = tuple(dict.fromkeys(patterns))
        self._exact = frozenset(text for text in self.texts if "*" not in text)
        self._open = [text.split("*") for text in self.texts if "*" in text]

    def fit(self, name: str) -> bool:
        """Whether one of them fits."""
        return name in self._exact or any(_fits(name, parts) for parts in self._open)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Patterns) and self.texts == other.texts

    def __hash__(self) -> int:
        return hash(self.texts)

    def __repr__(self) -> str:
        return f"Patterns({', '.join(self.texts)})"


def _fits(name: str, parts: list[str]) -> bool:
    """Each part as early as it goes: what is left is longest so, and time grows with the name's length alone."""
    first, *middle, last = parts
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    place, end = len(first), len(name) - len(last)
    for part in middle:
        place = name.find(part, place, end)
        if place < 0:
            return False
        place += len(part)
    return True


EVERYTHING = Patterns([ANY])

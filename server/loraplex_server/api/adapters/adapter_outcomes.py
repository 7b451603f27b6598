"""What became of each adapter the last time that somebody wanted it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeVar

from loraplex_adapters.source import AdapterSource

_V = TypeVar("_V")

MOST = 10_000  # adapters; some hundred bytes each


class AdapterOutcomes:
    """Gathered from answers, preloads and pins; those longest ago are forgotten."""

    def __init__(self) -> None:
        self._served: OrderedDict[str, tuple[AdapterSource, str]] = OrderedDict()  # by name: and its generation
        self._errors: OrderedDict[str, str] = OrderedDict()  # by name

    def succeeded(self, source: AdapterSource, generation: str) -> None:
        """It is served, as this generation."""
        self._errors.pop(source.name, None)
        _keep(self._served, source.name, (source, generation))

    def answered(self, sources: Sequence[AdapterSource], generations: str) -> None:
        """A request's adapters answered: their generations as the engine writes them, joined by "+"."""
        for source, generation in zip(sources, generations.split("+"), strict=False):
            self.succeeded(source, generation)

    def failed(self, name: str, message: str) -> None:
        """It could not be served."""
        _keep(self._errors, name, message)

    def forget(self, name: str) -> None:
        """The name is gone, or stands for something else."""
        self._errors.pop(name, None)
        self._served.pop(name, None)

    def served(self, name: str) -> tuple[AdapterSource, str] | None:
        """What was served under a name last, and its generation."""
        return self._served.get(name)

    def error(self, name: str) -> str | None:
        """Why it could not be served the last time; None once it could."""
        return self._errors.get(name)


def _keep(cache: OrderedDict[str, _V], key: str, value: _V) -> None:
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > MOST:
        cache.popitem(last=False)

"""One series, or one histogram's: what changes, and its lines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from prometheus_client.utils import floatToGoString


class Series(ABC):
    """Writes its lines only when it has changed since: most of a server's adapters and tenants are quiet.

    Used on one event loop: nothing here takes a lock.

    Args:
        name: of the family.
        labels: names and values.
    """

    __slots__ = ("_lines",)

    def __init__(self, name: str, labels: Mapping[str, str]) -> None:
        self._lines: str | None = None

    @property
    def lines(self) -> str:
        """Its part of the text."""
        if self._lines is None:
            self._lines = self._write()
        return self._lines

    @abstractmethod
    def _write(self) -> str:
        """The lines anew."""


def label_text(labels: Mapping[str, str]) -> str:
    """Labels as they stand behind a name, in the order of their names; "" where there are none."""
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(labels[name])}"' for name in sorted(labels)) + "}"


def number_text(value: float) -> str:
    """As Go would write it."""
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

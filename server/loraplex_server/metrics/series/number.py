"""A series that is one number."""

from __future__ import annotations

from collections.abc import Mapping

from loraplex_server.metrics.series.series import Series, label_text, number_text


class Number(Series):
    """Zero at first. Args: name, labels: as Series'."""

    __slots__ = ("_head", "_value")

    def __init__(self, name: str, labels: Mapping[str, str]) -> None:
        super().__init__(name, labels)
        self._head = f"{name}{label_text(labels)} "
        self._value = 0.0

    def _become(self, value: float) -> None:
        self._value = value
        self._lines = None

    def _write(self) -> str:
        return f"{self._head}{number_text(self._value)}\n"

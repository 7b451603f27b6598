"""All series of one name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from loraplex_server.metrics.series.series import Series

S = TypeVar("S", bound=Series)


class Family(Generic[S]):
    """Made by Page.

    Args:
        shown: the name in the text. about: one line. kind: Prometheus' type.
        labels: names.
        make: a series with these labels.
    """

    def __init__(
        self, shown: str, about: str, kind: str, labels: Sequence[str], make: Callable[[Mapping[str, str]], S]
    ) -> None:
        self._head = f"# HELP {shown} {about}\n# TYPE {shown} {kind}\n"
        self._labels = tuple(labels)
        self._make = make
        self._series: dict[tuple[str, ...], S] = {}

    def labels(self, *values: str) -> S:
        """The series with these values, one for each label; it is there from its first mention on.

        Raises:
            ValueError: there are more or fewer labels.
        """
        series = self._series.get(values)
        if series is None:
            series = self._series[values] = self._make(dict(zip(self._labels, values, strict=True)))
        return series

    def text(self) -> str:
        """Of all series, in the order in which they came."""
        return self._head + "".join([series.lines for series in self._series.values()])

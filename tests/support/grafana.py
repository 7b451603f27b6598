"""What Grafana does with a dashboard before Prometheus sees its queries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from support.prometheus import Prometheus

# As Grafana's Prometheus data source escapes a value for a regular expression inside a string of PromQL.
SPECIAL = re.compile(r"[$^*{}\[\]'+?.()|]")


@dataclass(frozen=True)
class Query:
    """One query of one panel."""

    panel: Mapping[str, Any]
    expr: str  # as Prometheus gets it
    legend: str

    @property
    def key(self) -> tuple[int, str]:
        """Of its panel and the query in it."""
        return self.panel["id"], self.legend

    @property
    def unit(self) -> str:
        """A heatmap's is of its axis: its values are counts."""
        return "counts" if self.panel["type"] == "heatmap" else str(self.panel["fieldConfig"]["defaults"]["unit"])

    @property
    def name(self) -> str:
        return f"{self.panel['title']} · {self.legend}" if self.legend else str(self.panel["title"])


def variables(board: Mapping[str, Any], prometheus: Prometheus) -> dict[str, str]:
    """Each query variable with `All` chosen: the values that Prometheus knows, in order."""
    known: dict[str, str] = {}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            query = replaced(variable["query"]["query"], known)
            series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()
            values = prometheus.ask(f"label/{label}/values", **{"match[]": series})
            assert values, query
            known[variable["name"]] = _joined(values)
    return known


def queries(board: Mapping[str, Any], known: Mapping[str, str], window: str, shown: str) -> Iterator[Query]:
    """Every query of every panel. Args: window: for $__rate_interval. shown: for $__range."""
    times = {"__rate_interval": window, "__range": shown}
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield Query(panel, replaced(target["expr"], {**known, **times}), target["legendFormat"])


def marks(board: Mapping[str, Any], known: Mapping[str, str], window: str) -> dict[str, str]:
    """Queries of the annotations, by name."""
    values = {**known, "__rate_interval": window}
    return {mark["name"]: replaced(mark["expr"], values) for mark in board["annotations"]["list"]}


def replaced(text: str, values: Mapping[str, str]) -> str:
    """Raises KeyError for a variable that is not known."""
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], text)


def _joined(values: list[str]) -> str:
    escaped = [SPECIAL.sub(lambda found: "\\\\" + found[0], value.replace("\\", "\\\\\\\\")) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"

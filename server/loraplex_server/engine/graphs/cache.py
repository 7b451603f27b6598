"""The graphs that were captured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loraplex_server.engine.graphs.key import GraphKey
from loraplex_server.engine.graphs.static_batch import StaticBatch


@dataclass(frozen=True)
class Graph:
    """One captured forward."""

    batch: StaticBatch
    replay: Callable[[], None]


class GraphCache:
    """Graphs by key, captured when they are first asked for.

    Args:
        capture: makes the graph of a key.
    """

    def __init__(self, capture: Callable[[GraphKey], Graph]) -> None:
        self._capture = capture
        self._graphs: dict[GraphKey, Graph] = {}
        self.captures = 0  # that were ever made

    def __len__(self) -> int:
        return len(self._graphs)

    def __getitem__(self, key: GraphKey) -> Graph:
        """The key's graph. One that reads what has moved is never returned: it is captured anew."""
        graph = self._graphs.get(key)
        if graph is None or graph.batch.stale:
            self._drop_stale()  # together with all like it, whose memory is thereby free for the new ones
            graph = self._graphs[key] = self._capture(key)
            self.captures += 1
        return graph

    def _drop_stale(self) -> None:
        for key in [key for key, graph in self._graphs.items() if graph.batch.stale]:
            del self._graphs[key]

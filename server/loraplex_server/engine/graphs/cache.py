"""The graphs that were captured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loraplex_server.engine.graphs.capture import NoRoomError
from loraplex_server.engine.graphs.key import GraphKey
from loraplex_server.engine.graphs.static_batch import StaticBatch

# Steps after which a graph that none of them needed gives way to another: some minutes of decoding. Sooner, and two
# that are needed in turns would be captured again and again, each time longer than many steps.
IDLE = 10_000
# Steps between two looks whether there is room again.
RETRY = 1000


@dataclass(frozen=True)
class Graph:
    """One captured forward."""

    batch: StaticBatch
    replay: Callable[[], None]


class GraphCache:
    """Graphs by key, captured when they are first asked for.

    Args:
        capture: makes the graph of a key, or raises NoRoomError.
        most: graphs that are kept; what their memory is planned for.
    """

    def __init__(self, capture: Callable[[GraphKey], Graph], most: int) -> None:
        self.most = most
        self._capture = capture
        self._graphs: dict[GraphKey, Graph] = {}
        self._used: dict[GraphKey, int] = {}  # when each was, in `_asked`
        self._asked = 0  # how often any graph was
        self._full_until = 0  # in `_asked`
        self.captures = 0  # that were ever made

    def __len__(self) -> int:
        return len(self._graphs)

    def __getitem__(self, key: GraphKey) -> Graph:
        """The key's graph. One that reads what has moved is never returned: it is captured anew.

        Raises:
            NoRoomError: it is not there, and the device has no memory for it or all that may be kept are in use.
        """
        self._asked += 1
        graph = self._graphs.get(key)
        if graph is None or graph.batch.stale:
            graph = self._captured(key)
        self._used[key] = self._asked
        return graph

    def _captured(self, key: GraphKey) -> Graph:
        if self._asked < self._full_until:
            raise NoRoomError("the device had no memory for another graph lately")
        self._drop_stale()  # together with all like it, whose memory is thereby free for the new ones
        self._make_room()
        try:
            graph = self._graphs[key] = self._capture(key)
        except NoRoomError:
            self._full_until = self._asked + RETRY
            raise
        self.captures += 1
        return graph

    def _make_room(self) -> None:
        if len(self._graphs) < self.most:
            return
        oldest = min(self._used, key=self._used.__getitem__)
        if self._asked - self._used[oldest] < IDLE:
            raise NoRoomError(f"all {self.most} graphs that memory was planned for are in use")
        self._drop(oldest)

    def _drop_stale(self) -> None:
        for key in [key for key, graph in self._graphs.items() if graph.batch.stale]:
            self._drop(key)

    def _drop(self, key: GraphKey) -> None:
        del self._graphs[key], self._used[key]

"""Responses that may be gone on from: in memory, bounded, forgotten at a restart."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from loraplex_server.api.errors import ApiError
from loraplex_server.api.schemas.response_items import AnyItem

# Of what Python keeps for an item or a body, beside what is in it.
OVERHEAD_BYTES = 1000


@dataclass(frozen=True)
class StoredResponse:
    """One response.

    Args:
        owner: the tenant that alone may see it. body: as it was answered. size: bytes of the body as JSON.
        before: the conversation that it went on from. input: what was new of it. output: the answer.
    """

    owner: str
    body: dict[str, Any]
    size: int
    before: Sequence[AnyItem]
    input: Sequence[AnyItem]
    output: Sequence[AnyItem]
    nbytes: int = field(init=False)

    def __post_init__(self) -> None:
        # Each response counts the whole conversation behind it: it keeps that alive when its predecessors are gone.
        items = self.conversation
        nbytes = self.size + sum(item.nbytes for item in items) + OVERHEAD_BYTES * (len(items) + 1)
        object.__setattr__(self, "nbytes", nbytes)

    @property
    def id(self) -> str:
        """Of the response."""
        return str(self.body["id"])

    @property
    def conversation(self) -> list[AnyItem]:
        """What a response that goes on from this one begins with."""
        return [*self.before, *self.input, *self.output]


class ResponseStore:
    """The latest responses; the one that was used longest ago leaves first. Safe to use from several threads.

    Args:
        capacity: bytes, about; 0 keeps nothing.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.nbytes = 0
        self._stored: OrderedDict[str, StoredResponse] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._stored)

    def put(self, response: StoredResponse) -> None:
        """Keep one, unless it alone is too large."""
        if response.nbytes > self.capacity:
            return
        with self._lock:
            self._stored[response.id] = response
            self.nbytes += response.nbytes
            while self.nbytes > self.capacity:
                _, oldest = self._stored.popitem(last=False)
                self.nbytes -= oldest.nbytes

    def get(self, id: str, owner: str) -> StoredResponse:
        """One of the owner's.

        Raises:
            ApiError: 404; it is another's, was not stored, or was forgotten.
        """
        with self._lock:
            found = self._stored.get(id)
            if found is None or found.owner != owner:
                raise self._unknown(id)
            self._stored.move_to_end(id)
            return found

    def delete(self, id: str, owner: str) -> None:
        """Forget one. Raises as get does."""
        self.get(id, owner)
        with self._lock:
            gone = self._stored.pop(id, None)
            self.nbytes -= gone.nbytes if gone is not None else 0

    def _unknown(self, id: str) -> ApiError:
        why = "it was not stored, or has been forgotten since" if self.capacity else "this server keeps none"
        message = f"Response with id '{id[:100]}' not found: {why}"
        return ApiError(404, message, param="response_id", code="response_not_found", outcome="not_found")

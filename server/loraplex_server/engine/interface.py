"""The seam between the API and the engine: one method does the work, so that tests can put anything behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from loraplex_adapters.source import AdapterSource
from loraplex_server.engine.messages import Delta, EngineInfo, EngineStats, GenerateRequest


class EngineError(Exception):
    """A request ended without its answer; the message can be shown to whoever sent it."""


class AdapterUnusableError(EngineError):
    """The adapter was refused: the request's own fault, a 4xx."""


class InvalidRequestError(EngineError):
    """The engine cannot do what was asked, a 4xx."""


class EngineDeadError(EngineError):
    """The engine process ended while it held the request, or is being restarted: a 503."""


class QueueFullError(EngineError):
    """Too many requests wait already: a 429. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceededError(EngineError):
    """The request's time was over before its first token, or would have been: a 408."""


@dataclass(frozen=True)
class PreparedAdapter:
    """What is known of an adapter once it is in memory."""

    generation: str  # hash of its content
    nbytes: int  # what it takes there


class Engine(Protocol):
    """What the API needs."""

    @property
    def info(self) -> EngineInfo | None:
        """Facts of the engine, None until it was ready for the first time."""

    @property
    def stats(self) -> EngineStats:
        """The latest word of the engine."""

    @property
    def healthy(self) -> bool:
        """The engine process lives and is ready for requests."""

    @property
    def restarts(self) -> int:
        """How often it was started again."""

    def tell(self, heard: Callable[[EngineInfo | None, EngineStats], None]) -> None:
        """From now on give each word of the engine to `heard`, with the facts of who said it: later ones repeat none of
        the lists in it. Of several calls, the last counts.
        """

    def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Deltas of all `n` answers, interleaved, until each has its finish_reason.

        Closing the iterator early aborts the request. Raises EngineError's subclasses, at most once, as the last thing.
        """

    async def abort(self, request_id: str, index: int) -> None:
        """End one answer of a running request early (a stop string was found); its last delta has reason "abort"."""

    async def prepare(self, source: AdapterSource, *, pin: bool) -> PreparedAdapter:
        """Load an adapter now, as the first request for it would, and wait until it is in memory.

        Args:
            source: of the adapter.
            pin: keep it in memory. A name has one pin: it moves here from the name's former content once this is in
                memory. Of several calls for one name, the latest decides. False leaves the name's pin as it is.

        Raises:
            AdapterUnusableError: it cannot be served, or not pinned for want of room; the message has all reasons.
            EngineDeadError: the engine ended meanwhile, or is being restarted. Pins end with it: whoever wants them
                asks again.
        """

    async def unpin(self, name: str) -> None:
        """Take the name's pin away, if it has one; the adapter stays in memory until its room is needed.

        Calls take effect in their order. Without a live engine there is no pin either.
        """

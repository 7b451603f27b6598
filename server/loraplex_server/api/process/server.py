"""uvicorn's server, ended gently."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from types import FrameType

import uvicorn

from loraplex_server.api.process.drain import Drain
from loraplex_server.api.process.tls import Certificate

logger = logging.getLogger(__name__)

# After the engine was told to end, its last words still have to reach the clients.
LAST_WORDS_S = 5
# Tenths of a second between two looks at the certificate's files.
CERTIFICATE_TICKS = 100


class GracefulServer(uvicorn.Server):
    """SIGTERM or SIGINT: refuse new requests, let those in flight finish, then end with code 0. The second one hurries.

    uvicorn itself stops listening at once, so that clients meet a closed port where they could be told to go elsewhere,
    and raises the signal again at its end, so that a clean end looks like a kill.

    Args:
        config: of uvicorn. drain: shared with the app. timeout: seconds that requests in flight get.
        on_timeout: ends those that are left, each with an error. certificate: that `config` shows.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Drain,
        timeout: float,
        on_timeout: Callable[[], Awaitable[None]],
        certificate: Certificate | None = None,
    ) -> None:
        super().__init__(config)
        self._certificate = certificate
        self._drain = drain
        self._timeout = timeout
        self._on_timeout = on_timeout
        self._deadline = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the signals."""
        if self._drain.begun:
            self._deadline = 0.0
            return
        self._drain.begin()
        self._deadline = time.monotonic() + self._timeout

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True ends the server."""
        if self._certificate is not None and self.config.ssl is not None and counter % CERTIFICATE_TICKS == 0:
            self._certificate.refresh(self.config.ssl)
        if self._drain.begun and counter % 50 == 0:
            logger.info("shutting down: %d requests in flight", self._drain.in_flight)
        if not self._drain.done and time.monotonic() >= self._deadline:
            logger.warning("shutting down: %d requests did not finish in time", self._drain.in_flight)
            await self._on_timeout()
            return True
        return self._drain.done or await super().on_tick(counter)

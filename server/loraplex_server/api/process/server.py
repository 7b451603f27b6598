"""uvicorn's server, ended gently."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
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
# For whoever could not know that this is the end: so long new connections are still told so, and then open ones.
LINGER_S = 0.1


class GracefulServer(uvicorn.Server):
    """SIGTERM or SIGINT: refuse new requests, let those in flight finish, then end with code 0. The second one hurries.

    uvicorn itself stops listening at once, so that clients meet a closed port where they could be told to go elsewhere,
    and raises the signal again at its end, so that a clean end looks like a kill.

    Args:
        config: of uvicorn. drain: shared with the app. timeout: seconds that requests in flight get.
        on_timeout: ends those that are left, each with an error. certificate: that `config` shows.
        delay: seconds from SIGTERM on in which new requests are still served, for routers that look at readiness now
            and then; the timeout begins after them. SIGINT comes from a person, who does not want to wait.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Drain,
        timeout: float,
        on_timeout: Callable[[], Awaitable[None]],
        certificate: Certificate | None = None,
        delay: float = 0.0,
    ) -> None:
        super().__init__(config)
        self._delay = delay
        self._begin_at = float("inf")
        self._certificate = certificate
        self._drain = drain
        self._timeout = timeout
        self._on_timeout = on_timeout
        self._deadline = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the signals."""
        now = time.monotonic()
        if self._drain.leaving:
            self._begin_at = self._deadline = now
        else:
            self._drain.leave()
            self._begin_at = now + (self._delay if sig == signal.SIGTERM else 0)
            self._deadline = self._begin_at + self._timeout
        if self._begin_at <= now:
            self._drain.begin()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True ends the server."""
        if self._certificate is not None and self.config.ssl is not None and counter % CERTIFICATE_TICKS == 0:
            self._certificate.refresh(self.config.ssl)
        if not self._drain.begun and time.monotonic() >= self._begin_at:
            self._drain.begin()
        if self._drain.leaving and counter % 50 == 0:
            logger.info("shutting down: %d requests in flight", self._drain.in_flight)
        if not self._drain.done and time.monotonic() >= self._deadline:
            logger.warning("shutting down: %d requests did not finish in time", self._drain.in_flight)
            await self._on_timeout()
            return True
        told = time.monotonic() >= self._begin_at + LINGER_S
        return (self._drain.done and told) or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening first: what comes on open connections meanwhile is told to go elsewhere, not cut off."""
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        if self._drain.begun:
            await asyncio.sleep(LINGER_S)
        await super().shutdown(sockets)

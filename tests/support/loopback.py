"""An ASGI app on a real socket of this machine."""

from __future__ import annotations

import asyncio
import socket
import threading
from types import TracebackType
from typing import Any

import uvicorn
from starlette.types import ASGIApp


class Loopback:
    """Serves on 127.0.0.1 from a thread, as a context manager; `port` is known from the start."""

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        settings = {"log_level": "critical", "lifespan": "off", "ws": "none"} | options
        config = uvicorn.Config(app, timeout_graceful_shutdown=1, **settings)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))

    async def _serve(self) -> None:
        await self._server.serve(sockets=[self._socket])
        await asyncio.sleep(0.02)  # for the transports that closed in the last turn of the loop to close their sockets

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(120)
        self._socket.close()

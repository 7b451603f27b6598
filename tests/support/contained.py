"""A server in a container, waited for at the port that the image has."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from support.containers import Container
from support.servers import NO_TLS

URL = "http://127.0.0.1:8000"
LIMIT_S = 600.0


def wait(condition: Callable[[], Any], what: str, container: Container) -> None:
    """Until it is so, while the container runs."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert container.process.poll() is None, container.log.read_text()
        assert time.monotonic() < deadline, f"never: {what}\n{container.log.read_text()}"
        time.sleep(0.1)


def ready() -> bool:
    """Whether it answers, and says so."""
    try:
        return httpx.get(f"{URL}/ready", timeout=60, verify=NO_TLS).status_code == 200
    except httpx.TransportError:
        return False

"""The server as users run it: a process, a port, real sockets."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "demo"
START_LIMIT_S = 120.0
# Nothing here speaks TLS, but httpx would read all certificates anew for each request, in 40 ms.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str, **options: object) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, verify=NO_TLS, **options)

    def post(self, path: str, body: object, **options: object) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=120, verify=NO_TLS, **options)

    def engine_pid(self) -> int:
        """The engine is the server's only child."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (pid,) = (int(child) for child in children)
        return pid


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(
    arguments: Sequence[str], log: Path, command: Sequence[str] = (sys.executable, "-m", "loraplex_server.cli")
) -> Iterator[Server]:
    """Run `loraplex ARGUMENTS` until the block ends, ready when it begins; what it logged goes to a file."""
    port = free_port()
    path = os.pathsep.join(str(ROOT / folder) for folder in ("server", "kernels", "adapters"))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONSAFEPATH": "1"}
    if command[0] == sys.executable:
        environment["PYTHONPATH"] = path
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*command, *arguments, "--port", str(port)], stdout=sink, stderr=subprocess.STDOUT, env=environment
        )
    server = Server(f"http://127.0.0.1:{port}", process, log)
    try:
        wait_ready(server)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def wait_ready(server: Server, limit_s: float = START_LIMIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise RuntimeError(f"the server ended with {server.process.returncode}:\n{server.log.read_text()}")
        with contextlib.suppress(httpx.TransportError):
            if server.get("/ready").status_code == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the server was not ready in {limit_s} s:\n{server.log.read_text()}")

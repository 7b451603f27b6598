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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "demo"
# Only what hangs takes so long.
START_LIMIT_S = END_LIMIT_S = 600.0
# Nothing here speaks TLS, but httpx would read all certificates anew for each request, in 40 ms.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str, **options: object) -> httpx.Response:
        return httpx.get(self.url + path, timeout=120, verify=NO_TLS, **options)

    def post(self, path: str, body: object, **options: object) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=120, verify=NO_TLS, **options)

    def engine_pid(self) -> int:
        """The engine is the server's only child."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (pid,) = (int(child) for child in children)
        return pid


def free_port() -> int:
    """One that is free now, and may be somebody's by the time it is used: see `held_port`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A port that is given to nobody else while the block runs.

    It is bound, so that the kernel passes it by, and nobody listens on it: connections to it are refused until a server
    does, which can, since servers set SO_REUSEADDR.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


@contextlib.contextmanager
def serving(
    arguments: Sequence[str],
    log: Path,
    command: Sequence[str] = (sys.executable, "-m", "loraplex_server.cli"),
    variables: Mapping[str, str] | None = None,
    port: int | None = None,
) -> Iterator[Server]:
    """Run `loraplex ARGUMENTS` until the block ends, ready when it begins; what it logged goes to a file.

    Args:
        variables: of its environment, beside this process's own.
        port: that it listens on; otherwise one of its own.
    """
    with held_port() if port is None else contextlib.nullcontext(port) as own:
        server = _started(arguments, log, command, variables or {}, own)
        try:
            wait_ready(server)
            yield server
        finally:
            server.process.send_signal(signal.SIGTERM)
            try:
                server.process.wait(END_LIMIT_S)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()
                raise


def _started(
    arguments: Sequence[str], log: Path, command: Sequence[str], variables: Mapping[str, str], port: int
) -> Server:
    path = os.pathsep.join(str(ROOT / folder) for folder in ("server", "kernels", "adapters"))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONSAFEPATH": "1", **variables}
    if command[0] == sys.executable:
        environment["PYTHONPATH"] = path
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*command, *arguments, "--port", str(port)], stdout=sink, stderr=subprocess.STDOUT, env=environment
        )
    return Server(f"http://127.0.0.1:{port}", process, log)


def wait_ready(server: Server, limit_s: float = START_LIMIT_S, path: str = "/ready") -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise RuntimeError(f"the server ended with {server.process.returncode}:\n{server.log.read_text()}")
        with contextlib.suppress(httpx.TransportError):
            if server.get(path).status_code == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the server was not ready in {limit_s} s:\n{server.log.read_text()}")

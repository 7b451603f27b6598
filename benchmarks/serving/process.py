"""A server as a child process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
READY_S = 300.0
STOP_S = 30.0
# Of the log, in the message about a server that did not start.
LOG_LINES = 15


class ServerError(Exception):
    """The server did not start."""


@dataclass(frozen=True)
class Running:
    """Attributes: url: where it listens. pid: of its first process, None where that is not ours."""

    url: str
    pid: int | None


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[str],
    port: int,
    log: Path,
    ready_s: float = READY_S,
    *,
    environment: Mapping[str, str] | None = None,
    ready: str = "/ready",
) -> Iterator[Running]:
    """Run `command` while the block runs; its output goes to `log`, and its `GET {ready}` is 200 as the block begins.

    Args:
        command: the server's.
        port: that it listens on.
        log: a file for what it says.
        ready_s: seconds that it may take.
        environment: of the server; if not given this process's, with the packages of this tree on its path, so that
            what is measured is what lies here.
        ready: the path that tells.

    Raises:
        ServerError: it ended, or was not ready in `ready_s`; with the last lines of its log.
    """
    with log.open("wb") as sink:
        try:
            process = subprocess.Popen(
                command,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=own_environment() if environment is None else dict(environment),
                start_new_session=True,  # a group of its own: whatever it starts is stopped with it
            )
        except OSError as error:
            raise ServerError(f"{command[0]}: {error.strerror or error}") from error
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_ready(process, url + ready, log, ready_s)
        yield Running(url, process.pid)
    finally:
        _stop(process)


def own_environment() -> dict[str, str]:
    """This process's, with the packages of this tree first on the path."""
    packages = [str(ROOT / folder) for folder in ("server", "kernels", "adapters")]
    path = os.pathsep.join([*packages, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def _wait_ready(process: subprocess.Popen[bytes], url: str, log: Path, ready_s: float) -> None:
    deadline = time.monotonic() + ready_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"the server ended with status {process.returncode}:\n{_tail(log)}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        time.sleep(0.1)
    raise ServerError(f"the server was not ready in {ready_s:g} s:\n{_tail(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:])

"""An application on Ray Serve, as tests see it: its URL, its replicas, and nothing of it afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from support.servers import ROOT, free_port

HOST = Path(__file__).with_name("ray_host.py")
END_S = 240.0
DEPLOY_S = 480.0
# On a machine that runs all the tests, what answers late is not dead. So long Ray waits for a replica's word before it
# asks another, and for its proxy's before it starts that again.
PATIENCE = {
    "RAY_SERVE_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "5",
    "RAY_SERVE_MAX_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "5",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
}


@dataclass
class RayServe:
    """Ray in a process of its own."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    def deploy(self, config: dict[str, Any]) -> tuple[str, str]:
        """What `serve run` does, until the application runs or cannot; its status, and what Ray says of it."""
        self.ask("deploy", config)
        deadline = time.monotonic() + DEPLOY_S
        while time.monotonic() < deadline:
            status, message = self.ask("status")
            if status in ("RUNNING", "DEPLOY_FAILED"):
                return status, message
            time.sleep(0.2)
        raise RuntimeError(f"it was not deployed in {DEPLOY_S} s, but is {status}: {message}")

    def engines(self) -> dict[str, int]:
        """Replicas with an engine: their ids, and the pids of their actors."""
        return self.ask("engines")

    def ask(self, command: str, about: Any = None) -> Any:
        self.process.stdin.write(json.dumps({command: about}) + "\n")
        self.process.stdin.flush()
        return self._heard()

    def _heard(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"Ray's host ended:\n{self.log.read_text()[-5000:]}")
        return json.loads(line)


def environment() -> dict[str, str]:
    """With this tree's packages."""
    path = os.pathsep.join(str(ROOT / folder) for folder in ("server", "kernels", "adapters"))
    return {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": path,
        "RAY_USAGE_STATS_ENABLED": "0",
        # Some of Ray's agents listen beyond the loopback: nobody else has this run's token.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        **PATIENCE,
    }


@contextlib.contextmanager
def ray_serve(log: Path) -> Iterator[RayServe]:
    """Ray and Serve without an application; when the block ends, all its processes have ended."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ray-", dir=_place()) as folder, log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, str(HOST), str(port), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            env=environment(),
            text=True,
        )
        served = RayServe(f"http://127.0.0.1:{port}", process, log)
        started: list[psutil.Process] = []
        try:
            assert served._heard() == "up"
            yield served
        finally:
            started = [process, *psutil.Process(process.pid).children(recursive=True)]
            process.stdin.close()
            process.stdout.close()
            _end(process, started)


def _place() -> str:
    """In memory, where there is such a place: Ray's actors write log lines and wait for them, which beside a test that
    fills the disk's queue takes many seconds. Not pytest's folder: paths of sockets must be short.
    """
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"


def _end(process: subprocess.Popen[str], started: list[Any]) -> None:
    """Wait for the host's clean end; whatever it leaves behind is ended, and is an error."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    _, left = psutil.wait_procs([each for each in started if isinstance(each, psutil.Process)], END_S)
    names = [f"{each.pid} {each.name()}" for each in left if each.is_running()]
    for each in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    if process.poll() is None:
        process.kill()
        process.wait()
    if names:
        raise RuntimeError(f"Ray left processes behind: {', '.join(names)}")

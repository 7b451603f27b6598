"""Clients that others wrote, each run in its own environment against the served demo."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.installed import environment, folder_of

PROGRAMS = Path(__file__).parent / "programs"
LIMIT_S = 1200  # only what hangs takes so long


@pytest.fixture
def command() -> Callable[..., str]:
    """Runs a client's own command, which must end well; gives what it printed."""

    def run(client: str, arguments: Sequence[str], cwd: Path, limit_s: float = LIMIT_S, **variables: str) -> str:
        done = subprocess.run(
            [folder_of(client) / "bin" / arguments[0], *arguments[1:]],
            env=environment() | variables,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
        assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-3000:]
        return done.stdout

    return run


@pytest.fixture
def program() -> Callable[..., Any]:
    """Runs one of `programs/` with a client's interpreter; gives the JSON that it printed."""

    def run(client: str, name: str, *arguments: str) -> Any:
        folder = folder_of(client)
        interpreter = [str(folder / "bin" / "python")] if name.endswith(".py") else ["node"]
        path = {"NODE_PATH": str(folder / "node_modules")}
        done = subprocess.run(
            [*interpreter, str(PROGRAMS / name), *arguments],
            env=environment() | path,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run

"""Clients that others wrote, each run in its own environment against the served demo."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.servers import ROOT

INSTALLED = ROOT / "build" / "clients"
PROGRAMS = Path(__file__).parent / "programs"
LIMIT_S = 240

# Nothing may be looked up anywhere but here.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_API_KEY": "none",
    "LANGSMITH_TRACING": "false",
    "TOKENIZERS_PARALLELISM": "false",
}


def environment() -> dict[str, str]:
    """A client's: none of this project's packages."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**kept, **OFFLINE}


def folder_of(name: str) -> Path:
    """Where a client is installed; the test is skipped where it is not."""
    folder = INSTALLED / name
    if not (folder / "installed").exists():
        pytest.skip(f"{name} is not installed: python tools/clients.py {name}")
    return folder


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

"""Triton's kernels in a process of their own: whether Triton interprets is decided when it is first imported."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from loraplex_server.engine.cores import usable_cores

PACKAGES = Path(__file__).parents[2] / "kernels"
# Processes that share a GPU: most of their time they compile, each on a core; each takes half a gigabyte of the GPU.
WORKERS = 8


def run_tests(files: Iterable[Path], *, interpret: bool) -> None:
    """Run files of tests, under Triton's interpreter or on the GPU, and fail with what they print.

    On a GPU always all combinations of their parameters, each file's tests on several workers where xdist is there:
    what takes long is to compile. The configuration of this run of pytest is handed on by conftest.py.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, files)]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    if interpret:
        environment["TRITON_INTERPRET"] = "1"
    else:
        command.append("--exhaustive")
        command += workers()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def workers() -> list[str]:
    """Options of pytest."""
    if importlib.util.find_spec("xdist") is None:
        return []
    return ["-n", str(min(WORKERS, usable_cores())), "--dist", "worksteal"]


def import_without_triton(module: str) -> None:
    """As on a machine that has none."""
    code = f"import sys; sys.modules['triton'] = None; import {module}"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(PACKAGES)})
    assert done.returncode == 0

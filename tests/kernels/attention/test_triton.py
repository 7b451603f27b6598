"""The Triton kernels: interpreted where there is no GPU, run where there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton")


def run(interpret: str) -> None:
    """In a process of its own: whether Triton interprets is decided when it is first imported."""
    path = str(Path(__file__).with_name("interpreted.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path]
    done = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": interpret}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_kernels_match_the_formula_under_the_interpreter():
    run("1")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_the_kernels_match_the_formula_on_the_gpu():
    run("0")


def test_the_package_imports_without_triton():
    code = "import sys; sys.modules['triton'] = None; import loraplex_kernels.attention"
    packages = Path(__file__).parents[3] / "kernels"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(packages)})
    assert done.returncode == 0

"""The sampler through the Triton kernels: interpreted where there is no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")


def run(interpret: str) -> None:
    """In a process of its own: whether Triton interprets is decided when it is first imported."""
    tests = str(Path(__file__).with_name("interpreted_sampler.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests]
    done = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": interpret}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_sampler_chooses_under_the_interpreter_as_on_the_cpu():
    run("1")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_the_sampler_chooses_on_the_gpu_as_on_the_cpu():
    run("0")

"""The small ops' Triton kernels, without a GPU: interpreted for what they compute, compiled for what they become."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

INTERPRETED = sorted(str(path) for path in Path(__file__).parent.glob("interpreted*.py"))


def run(environment: dict[str, str]) -> None:
    """In a process of its own: whether Triton interprets is decided when it is first imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *INTERPRETED]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_kernels_match_their_references_under_the_interpreter():
    run({"TRITON_INTERPRET": "1"})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_the_kernels_match_their_references_on_the_gpu():
    run({"TRITON_INTERPRET": "0"})


def test_the_ops_import_without_triton():
    code = "import sys; sys.modules['triton'] = None; import loraplex_kernels.ops"
    packages = Path(__file__).parents[3] / "kernels"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(packages)})
    assert done.returncode == 0


@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="interpreted kernels do not compile")
def test_a_norm_is_not_compiled_anew_for_another_number_of_rows():
    """A first step of one row, of sixteen, or of seventeen would each wait for the compiler, while serving."""
    from loraplex_kernels.ops.triton_norm import rms_norm_kernel

    assert [param.name for param in rms_norm_kernel.params if param.do_not_specialize] == ["rows"]

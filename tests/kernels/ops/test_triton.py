"""The small ops' Triton kernels, without a GPU: interpreted for what they compute, compiled for what they become."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from support.interpreter import import_without_triton, run_tests

pytest.importorskip("triton")

INTERPRETED = sorted(Path(__file__).parent.glob("interpreted*.py"))


@pytest.mark.slow
def test_the_kernels_match_their_references_under_the_interpreter():
    run_tests(INTERPRETED, interpret=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_the_kernels_match_their_references_on_the_gpu():
    run_tests(INTERPRETED, interpret=False)


def test_the_ops_import_without_triton():
    import_without_triton("loraplex_kernels.ops")


@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="interpreted kernels do not compile")
def test_a_norm_is_not_compiled_anew_for_another_number_of_rows():
    """A first step of one row, of sixteen, or of seventeen would each wait for the compiler, while serving."""
    from loraplex_kernels.ops.triton_norm import rms_norm_kernel

    assert [param.name for param in rms_norm_kernel.params if param.do_not_specialize] == ["rows"]

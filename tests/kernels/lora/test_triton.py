"""The Triton kernels match the formula: under Triton's interpreter, and on a GPU where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.interpreter import import_without_triton, run_tests

triton = pytest.importorskip("triton")


@pytest.mark.slow
def test_the_kernels_match_the_formula_under_the_interpreter():
    run_tests([Path(__file__).with_name("interpreted.py")], interpret=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_kernels_match_the_formula_on_a_gpu():
    run_tests([Path(__file__).with_name("interpreted.py")], interpret=False)


def test_the_package_imports_without_triton():
    import_without_triton("loraplex_kernels.lora")

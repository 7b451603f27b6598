"""The Triton kernels: interpreted where there is no GPU, run where there is one."""

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
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_the_kernels_match_the_formula_on_the_gpu():
    run_tests([Path(__file__).with_name("interpreted.py")], interpret=False)


def test_the_package_imports_without_triton():
    import_without_triton("loraplex_kernels.attention")

"""The sampler through the Triton kernels: interpreted where there is no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.interpreter import run_tests

pytest.importorskip("triton")


@pytest.mark.slow
def test_the_sampler_chooses_under_the_interpreter_as_on_the_cpu():
    run_tests([Path(__file__).with_name("interpreted_sampler.py")], interpret=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_the_sampler_chooses_on_the_gpu_as_on_the_cpu():
    run_tests([Path(__file__).with_name("interpreted_sampler.py")], interpret=False)

"""The quantized linears' Triton kernels match the formula: under Triton's interpreter, and on a GPU if there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from support.interpreter import run_tests

triton = pytest.importorskip("triton")


@pytest.mark.slow
def test_the_kernels_match_the_formula_under_the_interpreter():
    run_tests([Path(__file__).with_name("interpreted.py")], interpret=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_kernels_match_the_formula_on_a_gpu():
    run_tests([Path(__file__).with_name("interpreted.py")], interpret=False)


@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="interpreted kernels do not compile")
def test_hopper_unpacks_in_registers_and_runs_the_same_instructions_for_any_rows(tool):
    """Unpacked weights in shared memory would be its traffic's bound; another instruction, other bits for a row."""
    from launches.linear import LINEAR  # the tool knows where

    rows = (16, 32, 64)
    found = [LINEAR.variants((90, "int4 g128 zero", "bf16", count, (4096, 14_336), True))[0] for count in rows]
    for variant, count in zip(found, rows, strict=True):
        assert (variant.constants["BLOCK_M"], variant.constants["JOINED"]) == (count, True)
        compiled = tool.compile_variant(variant)
        ptx = compiled.asm["ptx"]
        assert "wgmma.mma_async" in ptx
        assert "mma.sync" not in ptx
        assert "cp.async.cg" in ptx
        tile = variant.constants["BLOCK_N"] * 64 + variant.constants["BLOCK_M"] * 256  # bytes of a stage
        assert compiled.metadata.shared <= variant.constants["STAGES"] * tile

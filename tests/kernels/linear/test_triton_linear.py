"""The quantized linears' Triton kernels match the formula: under Triton's interpreter, and on a GPU if there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton")


def run_tests(**environment):
    """In a process of its own: whether Triton interprets is decided when it is first imported."""
    tests = str(Path(__file__).with_name("interpreted.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests]
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_kernels_match_the_formula_under_the_interpreter():
    run_tests(TRITON_INTERPRET="1")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_kernels_match_the_formula_on_a_gpu():
    run_tests()


@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="interpreted kernels do not compile")
def test_hopper_unpacks_in_registers_and_runs_the_same_instructions_for_any_rows():
    """Unpacked weights in shared memory would be its traffic's bound; another instruction, other bits for a row."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from loraplex_kernels.linear.triton_linear import variants

    found = [
        variant for variant in variants() if variant.name.startswith("int4 g128 zero bf16") and "joined" in variant.name
    ]
    assert [variant.constants["BLOCK_M"] for variant in found] == [16, 32, 64]
    for variant in found:
        names = variant.kernel.arg_names
        source = ASTSource(
            variant.kernel,
            {name: "constexpr" if name in variant.constants else variant.signature[name] for name in names},
            {(names.index(name),): value for name, value in variant.constants.items()},
            {(names.index(name),): [["tt.divisibility", 16]] for name in variant.divisible},
        )
        options = {"num_warps": variant.num_warps, **variant.options}
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        ptx = compiled.asm["ptx"]
        assert "wgmma.mma_async" in ptx
        assert "mma.sync" not in ptx
        assert "cp.async.cg" in ptx
        tile = variant.constants["BLOCK_N"] * 64 + variant.constants["BLOCK_M"] * 256  # bytes of a stage
        assert compiled.metadata.shared <= variant.constants["STAGES"] * tile

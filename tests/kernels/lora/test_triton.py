"""The Triton kernels, on a machine without a GPU: interpreted for what they compute, compiled for what they become."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")

# Of the arguments that are no integers: everything else named *_ptr is int32.
POINTERS = {
    "v_ptr": "*fp32",
    "weight_ptr": "*fp32",
    "table_scale_ptr": "*fp32",
    "table_a_ptr": "*i64",
    "table_b_ptr": "*i64",
    "table_magnitude_ptr": "*i64",
    "table_factor_ptr": "*i64",
}


@pytest.mark.slow
def test_the_kernels_match_the_formula_under_the_interpreter():
    """In a process of its own: whether Triton interprets is decided when it is first imported."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(Path(__file__).with_name("interpreted.py")),
    ]
    done = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_imports_without_triton():
    code = "import sys; sys.modules['triton'] = None; import loraplex_kernels.lora"
    packages = Path(__file__).parents[3] / "kernels"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(packages)})
    assert done.returncode == 0


def compile_kernel(kernel, capability, dtype, tiles, warps):
    """A kernel as it is launched for sizes that 16 divides."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names, signature = kernel.arg_names, {}
    for name in names:
        integer = "*i32" if name.endswith("_ptr") else "i32"
        signature[name] = "constexpr" if name in tiles else POINTERS.get(name, integer)
    signature.update({name: f"*{dtype}" for name in ("x_ptr", "y_ptr") if name in names})
    divisible = [name for name in names if name.endswith("_ptr") or name in ("K", "R", "x_stride", "y_stride")]
    source = ASTSource(
        kernel,
        signature,
        {(names.index(name),): value for name, value in tiles.items()},
        {(names.index(name),): [["tt.divisibility", 16]] for name in divisible},
    )
    target = GPUTarget("cuda", capability, 32)
    return triton.compile(source, target=target, options={"num_warps": warps, "enable_fp_fusion": True})


def spilled_bytes(compiled, folder):
    """Bytes of stack that a kernel spills its registers to, as NVIDIA's own tool tells them."""
    cuobjdump = triton.knobs.nvidia.cuobjdump.path
    binary = folder / "kernel.cubin"
    binary.write_bytes(compiled.asm["cubin"])
    usage = subprocess.run([cuobjdump, "--dump-resource-usage", binary], capture_output=True, text=True, check=True)
    return int(re.search(r"STACK:(\d+)", usage.stdout)[1])


@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="interpreted kernels do not compile")
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("dtype", "itemsize"), [("bf16", 2), ("fp32", 4)])
@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
def test_the_kernels_compile_without_spilling_for_sm(capability, dtype, itemsize, int8, tmp_path):
    from loraplex_kernels.lora import triton_op
    from loraplex_kernels.lora.triton_expand import lora_expand_kernel
    from loraplex_kernels.lora.triton_shrink import lora_shrink_kernel

    shared = {"BLOCK_R": triton_op.BLOCK_R, "SPLITS": 2, "INT8": int8}
    shrink = {**shared, "BLOCK_K": triton_op.BLOCK_K_BYTES // itemsize}
    expand = {**shared, "BLOCK_N": triton_op.BLOCK_N, "WIDTH_MULTIPLE": 16, "MAGNITUDE": True}
    for kernel, tiles in ((lora_shrink_kernel, shrink), (lora_expand_kernel, expand)):
        for rows, warps in triton_op.WARPS.items():
            compiled = compile_kernel(kernel, capability, dtype, {**tiles, "M": rows}, warps)
            assert f".target sm_{capability}" in compiled.asm["ptx"]
            assert spilled_bytes(compiled, tmp_path) == 0
            # 16 bytes a time: the hint that addresses from the table are aligned has reached the loads.
            assert re.search(r"cp\.async\.cg\.shared\.global|ld\.global\.v4", compiled.asm["ptx"])
            assert "ld.global.b16" not in compiled.asm["ptx"]

"""What the Triton kernels become, on a machine without a GPU: every variant compiles, none spills its registers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")

TOOL = Path(__file__).parents[2] / "tools" / "compiled.py"

compiles = pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="interpreted kernels do not compile")


def environment():
    return {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}


@pytest.mark.slow
def test_what_the_kernels_are_launched_as_compiles_without_spilling(tool, pytestconfig):
    """So many launches that any two of the values that they depend on meet, the card being one; --exhaustive: three."""
    command = [sys.executable, TOOL, "--json", "--covering", "3" if pytestconfig.getoption("exhaustive") else "2"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    rows = [tool.Compiled(**row) for row in found["variants"]]
    sys.stdout.write(tool.table(rows))
    assert {row.capability for row in rows} == {*tool.SHARED_LIMIT}
    assert [row for row in rows if row.error] == []
    assert found["complaints"] == []
    assert done.returncode == 0


@pytest.fixture(scope="module")
def launches(tool):
    """What `tools/launches` has: the tool knows where."""
    from launches import families

    return families


@compiles
def test_what_is_rounded_to_float8_was_divided_exactly(tool, launches):
    """Triton's own division is off by up to two units, which decides where a quotient lies halfway."""
    (write,) = launches.WRITE.variants((90, "bf16", "float8", (32, 8), 128, 16))
    (rounded,) = launches.ROUND.variants((90, "bf16", 4096, False))
    for variant in (write, rounded):
        ptx = tool.compile_variant(variant).asm["ptx"]
        assert "div.rn.f32" in ptx
        assert "div.full" not in ptx


@compiles
def test_a_launch_is_described_as_triton_itself_would_compile_it(launches):
    """By type, by multiples of 16, and with 1 for a constant; nothing of another card is remembered."""
    ampere, hopper = (
        launches.LINEAR.variants((card, "int4 g128 zero", "bf16", 16, (28_672, 4096), False))[0] for card in (80, 90)
    )
    assert (ampere.module, ampere.function) == ("loraplex_kernels.linear.triton_linear", "linear_packed_kernel")
    assert [(form.capability, form.constants["JOINED"]) for form in (ampere, hopper)] == [(80, False), (90, True)]
    assert "lop3" in hopper.constants["ASM"]
    assert (hopper.constants["SPLITS"], hopper.constants["scale_rows"], hopper.constants["span"]) == (1, 1, 1)
    assert (hopper.signature["x_ptr"], hopper.signature["scale_ptr"]) == ("*bf16", "*fp16")
    assert {"x_ptr", "words_ptr", "N", "K"} <= {*hopper.divisible}
    assert not {"M", "y"} & {*hopper.divisible}
    assert (hopper.num_warps, hopper.options) == (4, {"enable_fp_fusion": True})


@compiles
@pytest.mark.parametrize("outputs", [4104, 4097])
def test_linears_of_odd_widths_are_cut_into_narrower_tiles(launches, outputs):
    """Their rows are not read in wide words: whole tiles would have an address for each element, and spill."""
    whole, odd = (
        {variant.function: variant for variant in launches.LORA.variants((80, 8, "bf16", False, 4096, width, 4, True))}
        for width in (4096, outputs)
    )
    assert {*whole} == {*odd} == {"lora_expand_kernel"}  # both halves in one launch
    whole, odd = whole["lora_expand_kernel"].constants, odd["lora_expand_kernel"].constants
    assert whole["FUSED"]
    assert odd["FUSED"]
    assert 2 * odd["BLOCK_N"] == whole["BLOCK_N"]


@compiles
def test_a_kernel_that_is_never_launched_is_a_complaint(tool, launches, monkeypatch):
    monkeypatch.setattr(tool, "FAMILIES", [family for family in launches.FAMILIES if family is not launches.ROUND])
    assert tool.jobs([], None, 1)[1] == ["linear.triton_round.round_rows_float8_kernel is never launched"]


@compiles
def test_words_and_a_capability_pick_variants(tool):
    found, complaints = tool.jobs(["gelu"], 90)
    assert complaints == []
    assert {(variant.function, variant.capability) for variant in found} == {("gate_kernel", 90)}
    assert all("gelu" in variant.name for variant in found)
    assert len({variant.form for variant in found}) == len(found) == 6


SPILLING = """
import triton
import triton.language as tl


@triton.jit
def sort_kernel(x_ptr, N: tl.constexpr):
    o = tl.arange(0, N)
    x = tl.load(x_ptr + o)
    for _ in range(4):
        x = tl.cumsum(x) * x
    tl.store(x_ptr + o, x)
"""


@compiles
def test_a_spilling_variant_and_one_that_does_not_compile_are_found(tool, tmp_path, monkeypatch):
    (tmp_path / "triton_hungry.py").write_text(SPILLING, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    of = partial(
        tool.Variant, "", "triton_hungry", "sort_kernel", 90, {"x_ptr": "*fp32"}, divisible=("x_ptr",), num_warps=1
    )
    roomy, cramped = (tool.compile_job(of({"N": 1024}, options={"maxnreg": most})) for most in (128, 24))
    assert roomy.error == ""
    assert roomy.registers > 0
    assert roomy.loads >= roomy.wide > 0
    assert cramped.stack > 0
    assert "spills" in cramped.error
    assert "does not compile" in tool.compile_job(of({"N": 1000})).error  # no power of two


@compiles
def test_more_shared_memory_than_a_card_has_is_found(tool, launches, monkeypatch):
    (variant,) = launches.LINEAR.variants((89, "int4 g128", "bf16", 64, (28_672, 4096), False))
    assert tool.compile_job(variant).error == ""
    monkeypatch.setitem(tool.SHARED_LIMIT, 89, 1000)
    assert "of shared memory of 1000" in tool.compile_job(variant).error

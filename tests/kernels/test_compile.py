"""What the Triton kernels become, on a machine without a GPU: every variant compiles, none spills its registers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

triton = pytest.importorskip("triton")

TOOL = Path(__file__).parents[2] / "tools" / "compiled.py"


def environment():
    return {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}


@pytest.mark.slow
def test_every_variant_of_every_kernel_compiles_without_spilling(tool, pytestconfig):
    """For all its cards if --exhaustive, else for one of them, which take turns."""
    command = [sys.executable, TOOL, "--json", *([] if pytestconfig.getoption("exhaustive") else ["--each-once"])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    rows = [tool.Compiled(**row) for row in found["variants"]]
    sys.stdout.write(tool.table(rows))
    assert rows
    assert [row for row in rows if row.error] == []
    assert found["complaints"] == []
    assert done.returncode == 0


@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="interpreted kernels do not compile")
def test_what_is_rounded_to_float8_was_divided_exactly(tool):
    """Triton's own division is off by up to two units, which decides where a quotient lies halfway."""
    from loraplex_kernels.attention import triton_write
    from loraplex_kernels.linear import triton_round

    for module, name in ((triton_write, "write-bf16-fp8e4nv-128-window-softcap"), (triton_round, "bf16 4096")):
        (found,) = (variant for variant in module.variants() if variant.name == name)
        ptx = tool.compile_variant(found, 90).asm["ptx"]
        assert "div.rn.f32" in ptx
        assert "div.full" not in ptx


@pytest.fixture
def fakes(tool, monkeypatch):
    """Modules in the place of the real ones; kernels are told by name."""

    def use(*modules):
        monkeypatch.setattr(tool, "modules", lambda: iter(modules))
        monkeypatch.setattr(tool, "kernels_of", lambda module: getattr(module, "kernels", []))

    return use


def variant(name, capabilities=(80, 90)):
    return SimpleNamespace(name=name, capabilities=capabilities)


def test_a_kernel_that_describes_no_variants_is_a_complaint(tool, fakes):
    silent = SimpleNamespace(__name__="loraplex_kernels.x.triton_silent", kernels=["add_kernel"])
    empty = SimpleNamespace(__name__="loraplex_kernels.x.triton_empty", kernels=["add_kernel"], variants=list)
    host = SimpleNamespace(__name__="loraplex_kernels.x.triton_op", kernels=[])
    fakes(silent, empty, host)
    todo, complaints = tool.jobs([], None)
    assert todo == []
    assert complaints == [
        "x.triton_silent has kernels (add_kernel) but no variants()",
        "x.triton_empty has kernels, but its variants() yields none",
    ]


def test_two_variants_of_one_name_are_a_complaint(tool, fakes):
    fakes(SimpleNamespace(__name__="x", kernels=["k"], variants=lambda: [variant("a"), variant("a", (90,))]))
    todo, complaints = tool.jobs([], None)
    assert todo == [("x", 0, 80, "a"), ("x", 0, 90, "a"), ("x", 1, 90, "a")]
    assert complaints == ["x has two variants named 'a'"]


def test_words_and_a_capability_pick_variants(tool, fakes):
    fakes(SimpleNamespace(__name__="x", kernels=["k"], variants=lambda: [variant("small"), variant("large")]))
    assert tool.jobs(["lar"], 90) == ([("x", 1, 90, "large")], [])


def test_each_once_takes_the_cards_in_turns(tool, fakes):
    found = [variant("a"), variant("b"), variant("c", (90,)), variant("d")]
    fakes(SimpleNamespace(__name__="x", kernels=["k"], variants=lambda: found))
    todo, _ = tool.jobs([], None, each_once=True)
    assert todo == [("x", 0, 80, "a"), ("x", 1, 90, "b"), ("x", 2, 90, "c"), ("x", 3, 90, "d")]


def test_a_variant_that_does_not_fit_its_kernel_is_an_error(tool, monkeypatch):
    kernel = SimpleNamespace(arg_names=["x_ptr", "n"])
    wrong = SimpleNamespace(kernel=kernel, signature={"x_ptr": "*fp32"}, constants={"BLOCK": 1}, divisible=(), name="w")
    monkeypatch.setitem(sys.modules, "loraplex_kernels.wrong", SimpleNamespace(variants=lambda: [wrong]))
    found = tool.compile_job(("loraplex_kernels.wrong", 0, 90, "w"))
    assert "BLOCK" in found.error
    assert "'n'" in found.error


SPILLING = """
import triton
import triton.language as tl
from loraplex_kernels.variant import Variant


@triton.jit
def sort_kernel(x_ptr, N: tl.constexpr):
    o = tl.arange(0, N)
    x = tl.load(x_ptr + o)
    for _ in range(4):
        x = tl.cumsum(x) * x
    tl.store(x_ptr + o, x)


def variants():
    for registers in (128, 24):
        options = {"enable_fp_fusion": True, "maxnreg": registers}
        yield Variant(f"r{registers}", sort_kernel, {"x_ptr": "*fp32"}, {"N": 1024}, ("x_ptr",), 1, options=options)
"""


@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="interpreted kernels do not compile")
def test_a_spilling_variant_is_found(tool, tmp_path, monkeypatch):
    path = tmp_path / "triton_hungry.py"
    path.write_text(SPILLING, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    roomy, cramped = (tool.compile_job(("triton_hungry", number, 90, "")) for number in (0, 1))
    assert roomy.error == ""
    assert roomy.registers > 0
    assert roomy.loads >= roomy.wide > 0
    assert cramped.stack > 0
    assert "spills" in cramped.error

"""What is said of a weight's bytes before it is made is what it takes once it is."""

from __future__ import annotations

import pytest
import torch

from loraplex_kernels import weight_bytes
from loraplex_kernels.linear import make_weight
from loraplex_kernels.linear.float8 import Float8Weight
from loraplex_kernels.linear.forms import Float8, GroupedInts, Lookup
from loraplex_kernels.linear.rounders import round_weight
from loraplex_kernels.linear.triton_float8 import TritonFloat8Weight
from loraplex_kernels.linear.triton_grouped import TritonGroupedWeight
from loraplex_kernels.linear.triton_lookup import TritonLookupWeight
from loraplex_kernels.weight_bytes import ROUNDED, Shape, floats

CPU = torch.device("cpu")
SHAPES = [(64, 128), (100, 192), (1, 64), (151, 4864)]


def weight(outputs: int, inputs: int) -> torch.Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(outputs))


@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_floating_point(outputs: int, inputs: int, dtype: torch.dtype) -> None:
    made = make_weight(weight(outputs, inputs), "none", dtype, CPU)
    assert made.nbytes == floats(Shape(outputs, inputs), dtype.itemsize)


@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
@pytest.mark.parametrize("form", ROUNDED["cpu"])
def test_rounded_on_a_cpu(form: str, outputs: int, inputs: int) -> None:
    made = make_weight(weight(outputs, inputs), form, torch.bfloat16, CPU)  # type: ignore[arg-type]
    assert made.nbytes == ROUNDED["cpu"][form](Shape(outputs, inputs))


@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
@pytest.mark.parametrize("form", ["int4", "int4-32", "nf4", "int8-weight"])
def test_rounded_on_a_gpu(form: str, outputs: int, inputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # the kernels take weights on the CPU then; none is launched
    rounded = round_weight(weight(outputs, inputs), form)
    if isinstance(rounded, Lookup):
        made = TritonLookupWeight(rounded, torch.bfloat16, CPU).nbytes
    else:
        assert isinstance(rounded, GroupedInts)
        made = TritonGroupedWeight(rounded, torch.bfloat16, CPU).nbytes
    assert made == ROUNDED["cuda"][form](Shape(outputs, inputs))


@pytest.mark.parametrize(("outputs", "inputs"), [(64, 128), (112, 192)])
def test_eight_bit_floats_on_a_gpu(outputs: int, inputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    rounded = round_weight(weight(outputs, inputs), "fp8")
    assert isinstance(rounded, Float8)
    assert Float8Weight(rounded, torch.bfloat16, CPU).nbytes == ROUNDED["cuda"]["fp8"](Shape(outputs, inputs))
    # Where the card has no such products the same bytes lie in planes, with counters for the packed kernel.
    packed = TritonFloat8Weight(rounded, torch.bfloat16, CPU).nbytes
    assert packed == weight_bytes.ROUNDED["cuda"]["int8-weight"](Shape(outputs, inputs))

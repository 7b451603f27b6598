"""The ways to multiply with a quantized weight that are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from loraplex_kernels.linear import Quantization, make_weight

FORMS: tuple[Quantization, ...] = ("int4", "nf4", "int8-weight", "fp8")
# Of the norm of the result: activations rounded to eight bits differ by a few percent, sums in bfloat16 by far less.
TOLERANCE = {"ours fp8": 0.1}
ROUNDED_SUMS = 0.02
GROUP = 128
INNER_TILES = 8  # of tinygemm's packing; what torchao takes


@dataclass(frozen=True)
class LinearWay:
    """One form of one weight."""

    name: str
    nbytes: int  # of the weight
    call: Callable[[Tensor], Tensor]  # [T, K] to [T, N]
    weight: Callable[[], Tensor]  # float32 [N, K]: what the form stands for


def linear_ways(weight: Tensor) -> Iterator[LinearWay]:
    """All that run on the weight's device, one at a time, so that no two are in memory.

    Args:
        weight: `[N, K]`, floating point.
    """
    yield LinearWay("cuBLAS", weight.nbytes, lambda x: functional.linear(x, weight), lambda: weight.float())
    for form in FORMS:
        yield _ours(weight, form)
    if weight.is_cuda:
        yield _tinygemm(weight)
    found = _bitsandbytes(weight)
    if found is not None:
        yield found


def _ours(weight: Tensor, form: Quantization) -> LinearWay:
    served = make_weight(weight, form, weight.dtype, weight.device)
    return LinearWay(f"ours {form}", served.nbytes, served, lambda: served.dequantized().to(weight.device))


def check(way: LinearWay, x: Tensor) -> None:
    """Raises ArithmeticError where a way is not its own weight's product: a wrong op is not timed."""
    found = way.call(x).double()
    expected = x.double() @ way.weight().double().T
    off = float((found - expected).norm() / expected.norm())
    limit = TOLERANCE.get(way.name, ROUNDED_SUMS)
    if not off < limit:
        raise ArithmeticError(f"{way.name} is off by {off:.3f} of the result, over {limit}: no timing of a wrong op")


def _tinygemm(weight: Tensor) -> LinearWay:
    """torch's own int4 kernel (aten/src/ATen/native/cuda/int4mm.cu): w = (q - 8) * scale + zero."""
    N, K = weight.shape
    groups = weight.float().view(N, K // GROUP, GROUP)
    low, high = groups.aminmax(dim=2, keepdim=True)
    scale = ((high - low) / 15).clamp(min=1e-6).bfloat16().float()
    codes = ((groups - low) / scale).round().clamp(0, 15)
    zero = (low + 8 * scale).bfloat16().float()
    flat = codes.view(N, K).to(torch.uint8)
    packed = torch.ops.aten._convert_weight_to_int4pack(flat[:, ::2] << 4 | flat[:, 1::2], INNER_TILES)
    both = torch.stack([scale[..., 0].T, zero[..., 0].T], dim=2).contiguous().bfloat16()  # [K / GROUP, N, 2]
    served = ((codes - 8) * scale + zero).view(N, K)
    return LinearWay(
        "tinygemm int4",
        packed.nbytes + both.nbytes,
        lambda x: torch.ops.aten._weight_int4pack_mm(x, packed, GROUP, both),
        lambda: served,
    )


def _bitsandbytes(weight: Tensor) -> LinearWay | None:
    """None where it is not installed, or has nothing for the device."""
    if not weight.is_cuda:
        return None
    try:
        import bitsandbytes
    except ImportError:
        return None
    packed, state = bitsandbytes.functional.quantize_4bit(weight, quant_type="nf4")
    return LinearWay(
        "bitsandbytes nf4",
        packed.nbytes + state.absmax.nbytes,
        lambda x: bitsandbytes.matmul_4bit(x, packed.t(), state),
        lambda: bitsandbytes.functional.dequantize_4bit(packed, state).float(),
    )

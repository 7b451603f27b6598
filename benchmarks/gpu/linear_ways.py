"""The ways to multiply with a quantized weight that are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional

from gpu.part import check_near
from loraplex_kernels.linear import Quantization, make_weight

FORMS: tuple[Quantization, ...] = ("int4", "nf4", "int8-weight", "fp8")
ON_A_GPU = {"tinygemm int4": None, "bitsandbytes nf4": "bitsandbytes"}  # and the package that it is in
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
    again: Callable[[], LinearWay]  # the same, in memory of its own


def names(device: torch.device) -> list[str]:
    """Of the ways that there are on a device."""
    beside = [name for name, package in ON_A_GPU.items() if package is None or find_spec(package) is not None]
    return ["cuBLAS", *(f"ours {form}" for form in FORMS), *(beside if device.type == "cuda" else [])]


def linear_way(name: str, weight: Tensor) -> LinearWay:
    """The one of `names`.

    Args:
        name: of the way.
        weight: `[N, K]`, floating point.
    """
    if name == "cuBLAS":
        return _cublas(weight)
    if name == "tinygemm int4":
        return _tinygemm(weight)
    if name == "bitsandbytes nf4":
        return _bitsandbytes(weight)
    return _ours(weight, next(form for form in FORMS if name == f"ours {form}"))


def check(way: LinearWay, x: Tensor, weight: Tensor) -> None:
    """Raises WrongError where a way is not its own weight's product: a wrong op is not timed.

    Args:
        way: that is checked.
        x: `[T, K]`: each number of rows may be another kernel.
        weight: float64, `way.weight()`.
    """
    limit = TOLERANCE.get(way.name, ROUNDED_SUMS)
    check_near(way.call(x), x.double() @ weight.T, limit, f"{way.name} at {len(x)} rows")


def _cublas(weight: Tensor) -> LinearWay:
    return LinearWay(
        "cuBLAS",
        weight.nbytes,
        lambda x: functional.linear(x, weight),
        lambda: weight.float(),
        lambda: _cublas(weight.clone()),
    )


def _ours(weight: Tensor, form: Quantization) -> LinearWay:
    served = make_weight(weight, form, weight.dtype, weight.device)
    return LinearWay(
        f"ours {form}",
        served.nbytes,
        served,
        lambda: served.dequantized().to(weight.device),
        lambda: _ours(weight, form),
    )


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

    def way(packed: Tensor, both: Tensor) -> LinearWay:
        return LinearWay(
            "tinygemm int4",
            packed.nbytes + both.nbytes,
            lambda x: torch.ops.aten._weight_int4pack_mm(x, packed, GROUP, both),
            lambda: served,
            lambda: way(packed.clone(), both.clone()),
        )

    return way(packed, both)


def _bitsandbytes(weight: Tensor) -> LinearWay:
    import bitsandbytes

    packed, state = bitsandbytes.functional.quantize_4bit(weight, quant_type="nf4")
    return LinearWay(
        "bitsandbytes nf4",
        packed.nbytes + state.absmax.nbytes,
        lambda x: bitsandbytes.matmul_4bit(x, packed.t(), state),
        lambda: bitsandbytes.functional.dequantize_4bit(packed, state).float(),
        lambda: _bitsandbytes(weight),
    )

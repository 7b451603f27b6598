"""How far a kernel's result may be from the formula in float64: the one table, by op and by the result's dtype.

What is summed is float32; a result of fewer bits is rounded once (bfloat16 by 2^-9 of itself, float16 by 2^-12), or, as
the op's semantics say, its intermediate values are too.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import torch
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")


class Tolerance(NamedTuple):
    """`|result - expected| <= relative * |expected| + absolute`."""

    relative: float
    absolute: float  # of the linears: of the sum of the terms' magnitudes


TOLERANCES = {
    "attention": {  # the softmax is rounded too
        torch.float64: Tolerance(1e-12, 1e-12),
        torch.float32: Tolerance(2e-6, 2e-6),
        torch.bfloat16: Tolerance(1.6e-2, 8e-3),
        torch.float16: Tolerance(2e-3, 2e-3),
    },
    "lora": {  # A x is rounded too
        torch.float32: Tolerance(2e-6, 4e-6),
        torch.bfloat16: Tolerance(8e-3, 3e-2),
        torch.float16: Tolerance(1e-3, 4e-3),
    },
    "linear": {
        torch.float32: Tolerance(1e-6, 2e-6),
        torch.bfloat16: Tolerance(2**-7 if INTERPRETED else 2**-8, 1e-5),  # the interpreter cuts off
        torch.float16: Tolerance(2**-11, 1e-5),
    },
    "norms, gates, rotary": {
        torch.float32: Tolerance(4e-6, 4e-6),
        torch.bfloat16: Tolerance(4e-3, 1e-5),
        torch.float16: Tolerance(5e-4, 1e-6),
    },
    "rounded twice": {  # where the first falls the other way, the second is a step of the dtype off
        torch.float32: Tolerance(1e-5, 1e-5),
        torch.bfloat16: Tolerance(2**-6, 2**-6),
        torch.float16: Tolerance(2**-9, 2**-9),
    },
}
# Of a result's largest element, for linears on the CPU, whose sums are as long as they like.
OF_LARGEST = {torch.float32: 5e-6, torch.bfloat16: 4e-3, torch.float16: 1e-3}


def assert_close(result: Tensor, expected: Tensor, op: str) -> None:
    """Within what the op may be off by, in the result's dtype.

    Args:
        result: on any device.
        expected: float64, on the CPU.
        op: of `TOLERANCES`.
    """
    relative, absolute = TOLERANCES[op][result.dtype]
    torch.testing.assert_close(result.cpu().double(), expected.cpu().double(), rtol=relative, atol=absolute)


def assert_near(result: Tensor, expected: Tensor, roundings: int = 1) -> None:
    """No further off than `OF_LARGEST` for each rounding: that of the result, and of the weights, if they are."""
    error = (result.double() - expected).abs().max() / expected.abs().max()
    assert error < roundings * OF_LARGEST[result.dtype], float(error)

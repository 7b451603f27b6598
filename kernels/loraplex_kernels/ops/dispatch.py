"""Which tensors the Triton kernels take."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.bfloat16, torch.float16)


@cache
def has_triton() -> bool:
    """Whether Triton is installed; a machine without a GPU need not have it."""
    return find_spec("triton") is not None


def use_triton(*tensors: Tensor) -> bool:
    """Whether all are on a GPU that there are kernels for, of one float dtype, rows contiguous."""
    dtype = tensors[0].dtype
    for tensor in tensors:  # a loop, since this stands before every op of every layer
        if not tensor.is_cuda or tensor.dtype is not dtype or tensor.stride(-1) != 1:
            return False
    return dtype in FLOATS and has_triton()

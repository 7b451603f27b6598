"""Work in pieces so small that torch does them on the calling thread."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

# torch splits an elementwise operation among its threads from 32768 elements up (at::internal::GRAIN_SIZE). A second
# thread pool, the loader's, would fight with the step loop's for the cores, at the price of whole milliseconds.
PIECE = 32704

# By itemsize and dtype: the bits of the exponent, all of them set in an infinity and in every NaN.
_EXPONENT: Mapping[torch.dtype, tuple[type[np.signedinteger], int]] = {
    torch.float32: (np.int32, 0x7F800000),
    torch.float16: (np.int16, 0x7C00),
    torch.bfloat16: (np.int16, 0x7F80),
}


def all_finite(values: Tensor) -> bool:
    """Whether a contiguous CPU tensor of float32, float16 or bfloat16 is free of infinities and NaNs."""
    integer, exponent = _EXPONENT[values.dtype]
    bits = values.view(-1).view(torch.int32 if integer is np.int32 else torch.int16).numpy()
    return not any(
        bool(((bits[first : first + PIECE] & exponent) == exponent).any()) for first in range(0, bits.size, PIECE)
    )

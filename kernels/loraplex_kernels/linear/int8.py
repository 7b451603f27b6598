"""W8A8: int8 weights, one scale an output; activations rounded to int8 on the way in, one scale a row."""

from __future__ import annotations

import torch
from torch import Tensor

# The symmetric range: -128 is left out, so that a weight and its negative round alike.
SHIFT = 128  # from int8 to uint8: the sign bit flipped
LIMIT = 127


class Int8Weight:
    """An int8 weight on the CPU, packed by oneDNN; the floating-point original is not kept.

    Semantics: `y[t, n] = x_scale[t] * w_scale[n] * sum_k x8[t, k] w8[n, k] + bias[n]`, where
    `w_scale[n] = max_k |W[n, k]| / 127`, `w8 = round(W / w_scale)` and x8, x_scale the same of each row of x. The sum
    is exact in int32. Rows do not depend on each other: the same row gives the same output in any batch.

    Args:
        weight: `[N, K]`, floating point, on the CPU.

    Raises:
        ValueError: the weight lies on another device.
    """

    def __init__(self, weight: Tensor) -> None:
        if weight.device.type != "cpu":
            raise ValueError(f"quantization int8 runs on the CPU only; this weight is on {weight.device}")
        self.out_features, self.in_features = weight.shape
        rounded, self.scale = _round_rows(weight)
        self._packed: Tensor = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._zero_points = torch.zeros(self.out_features, dtype=torch.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weight and its scales."""
        return self._packed.nbytes + self.scale.nbytes

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `BaseWeight`."""
        rounded, x_scale = _round_rows(x)
        # Shifted to unsigned, with the shift as zero point: the same product to the bit, but for signed activations
        # oneDNN has nothing better than its reference loop on a CPU without AMX, a thousand times slower.
        # It takes one activation scale a call, so it gets 1 and the rows are scaled after it.
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded.view(torch.uint8).bitwise_xor_(SHIFT),
            1.0,
            SHIFT,
            self._packed,
            self.scale,
            self._zero_points,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        y.mul_(x_scale[:, None])
        if bias is not None:
            y.add_(bias)
        return y.to(x.dtype)

    def dequantized(self) -> Tensor:
        """See `BaseWeight`."""
        unpacked = self._packed.to_dense().t()  # [N, K]: oneDNN keeps it transposed
        return unpacked.to(torch.float32) * self.scale[:, None]


def _round_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """int8 `[R, C]` and the float32 `[R]` that each row is to be multiplied by."""
    wide = x.to(torch.float32)
    scale = wide.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / LIMIT
    return (wide / scale[:, None]).round().to(torch.int8), scale

"""W8A8 through oneDNN, for machines that the compiled int8 kernel does not run on."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.linear.rounding import round_rows

_SHIFT = 128  # from int8 to uint8


class OnednnInt8Weight:
    """An int8 weight on the CPU, packed by oneDNN; the original is not kept.

    Semantics: those of `Int8Weight`.

    Args:
        weight: `[N, K]`, floating point.
        scales: see `Int8Weight`.

    Raises:
        ValueError: the weight lies on another device.
    """

    def __init__(self, weight: Tensor, scales: Tensor | None = None) -> None:
        if weight.device.type != "cpu":
            raise ValueError(f"quantization int8 runs on the CPU only; this weight is on {weight.device}")
        self.out_features, self.in_features = weight.shape
        rounded, self.scale = round_rows(weight, scales)
        self._packed: Tensor = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._zero_points = torch.zeros(self.out_features, dtype=torch.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weight and its scales."""
        return self._packed.nbytes + self.scale.nbytes

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `BaseWeight`."""
        rounded, x_scale = round_rows(x)
        # Shifted to unsigned, with the shift as zero point: the same product to the bit, but for signed activations
        # oneDNN has nothing better than its reference loop on a CPU without AMX, a thousand times slower.
        # It takes one activation scale a call, so it gets 1 and the rows are scaled after it.
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded.view(torch.uint8).bitwise_xor_(_SHIFT),
            1.0,
            _SHIFT,
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

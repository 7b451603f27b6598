"""`quant_method: fbgemm_fp8`: one scale an output, as transformers writes it for Meta's FBGEMM."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import Float8
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.quantized.expected import FLOATS, Expected
from loraplex_server.models.quantized.reader import FormatReader
from loraplex_server.models.quantized.settings import Settings
from loraplex_server.models.quantized.tiles import tiled


class FbgemmReader(FormatReader):
    """Semantics: `W[n, k] = weight[n, k] * weight_scale[n]` (transformers, integrations/fbgemm_fp8.py).

    FBGEMM rounds activations by row, and clips what is above `activation_scale_ub`; here nothing is clipped. Whether
    a module is quantized is told by its tensors.
    """

    def __init__(self, settings: Settings, checkpoint: Checkpoint) -> None:
        super().__init__("fbgemm fp8, one scale an output", checkpoint)

    def expected(self, module: str, shape: tuple[int, int]) -> dict[str, Expected]:
        """See `FormatReader`."""
        if f"{module}.weight_scale" not in self.checkpoint and self.is_plain(module):
            return {}
        expected = {
            "weight": Expected((torch.float8_e4m3fn,), (shape,)),
            "weight_scale": Expected(FLOATS, ((shape[0], 1), (shape[0],))),
        }
        if f"{module}.input_scale_ub" in self.checkpoint:  # checkpoints of Meta's own
            expected["input_scale_ub"] = Expected.scalar(*FLOATS)
        return expected

    def form(self, module: str, shape: tuple[int, int], tensors: Mapping[str, Tensor]) -> Float8:
        """See `FormatReader`."""
        return tiled(tensors["weight"], tensors["weight_scale"], (1, shape[1]))

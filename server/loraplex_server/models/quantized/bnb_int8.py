"""bitsandbytes' eight bits: the weights of LLM.int8() (arXiv:2208.07339)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import GroupedInts
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.quantized.expected import Expected
from loraplex_server.models.quantized.reader import FormatReader
from loraplex_server.models.quantized.settings import Settings
from loraplex_server.models.quantized.signed import unsigned

# As bitsandbytes has it in float32: its scales are rows' maxima (backends/default/ops.py, int8_vectorwise_dequant).
_PER_STEP = 7.874015718698502e-3  # 1 / 127


class Int8Reader(FormatReader):
    """Semantics: `W[n, k] = weight[n, k] * SCB[n] / 127`.

    The weights are all of the checkpoint. `llm_int8_threshold` is about activations: bitsandbytes rounds them to
    int8, but for the columns above it; how they are rounded here, or not, is the kernel's business. Whether a module is
    quantized is told by its tensors.
    """

    def __init__(self, settings: Settings, checkpoint: Checkpoint) -> None:
        super().__init__("bitsandbytes int8, one scale an output", checkpoint)

    def expected(self, module: str, shape: tuple[int, int]) -> dict[str, Expected]:
        """See `FormatReader`."""
        if f"{module}.SCB" not in self.checkpoint and self.is_plain(module):
            return {}
        expected = {"weight": Expected((torch.int8,), (shape,)), "SCB": Expected((torch.float32,), ((shape[0],),))}
        if f"{module}.weight_format" in self.checkpoint:
            expected["weight_format"] = Expected.scalar(torch.uint8)
        return expected

    def form(self, module: str, shape: tuple[int, int], tensors: Mapping[str, Tensor]) -> GroupedInts:
        """See `FormatReader`."""
        layout = tensors.get("weight_format")
        if layout is not None and int(layout):
            raise ValueError(
                f"weight_format {int(layout)} is a layout for one generation of GPUs; save it with bitsandbytes 0.45 "
                "or newer"
            )
        scale = (tensors["SCB"] * _PER_STEP)[:, None]
        return GroupedInts(unsigned(tensors["weight"], 8), scale, None, shape[1], 8)

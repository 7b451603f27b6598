"""One process that rounds the inputs of its int8 linears as several ranks do: each part by its own largest value."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.linear.int8 import Int8Weight
from loraplex_kernels.linear.onednn import OnednnInt8Weight
from loraplex_kernels.linear.quantize import make_int8
from loraplex_server.models.decoder import Decoder
from loraplex_server.models.linear import Linear


class PartedInputs:
    """See `BaseWeight`: the sum of what equal parts of the inputs give.

    Args:
        weight: whole.
        parts: of its inputs.
        dtype: of the activations.
    """

    def __init__(self, weight: Int8Weight | OnednnInt8Weight, parts: int, dtype: torch.dtype) -> None:
        self.out_features, self.in_features, self.nbytes = weight.out_features, weight.in_features, weight.nbytes
        self._weight = weight
        self._width = weight.in_features // parts
        pieces = weight.dequantized().split(self._width, dim=1)
        self._parts = [make_int8(piece.contiguous(), dtype, piece.device, weight.scale) for piece in pieces]

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `BaseWeight`."""
        first, *rest = zip(self._parts, x.split(self._width, dim=1), strict=True)
        y = first[0](first[1], bias)
        for part, piece in rest:
            y += part(piece)
        return y

    def dequantized(self) -> Tensor:
        """See `BaseWeight`."""
        return self._weight.dequantized()


def part_inputs(model: Decoder, parts: int) -> Decoder:
    """The model, whose linears that ranks divide by inputs round them in parts from now on. It must be int8 and whole.

    Args:
        model: changed in place.
        parts: as many as there would be ranks.
    """
    for layer in model.layers:
        for linear in (layer.attention.o, layer.mlp.down):
            linear.weight = _parted(linear, parts, model.embedding.dtype)
    return model


def _parted(linear: Linear, parts: int, dtype: torch.dtype) -> PartedInputs:
    if not isinstance(linear.weight, Int8Weight | OnednnInt8Weight):
        raise TypeError(f"{type(linear.weight).__name__} is not int8")
    return PartedInputs(linear.weight, parts, dtype)

"""bitsandbytes' four bits: NF4 and FP4, with absmax perhaps quantized once more (QLoRA, arXiv:2305.14314)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import Lookup
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.errors import CheckpointError
from loraplex_server.models.quantized.bnb_state import KINDS, QuantState, read_state
from loraplex_server.models.quantized.expected import FLOATS, Expected
from loraplex_server.models.quantized.reader import FormatReader
from loraplex_server.models.quantized.settings import Settings

_STATE = "weight.quant_state.bitsandbytes__"
# Bytes are stored as whatever they could be sharded as (bnb_4bit_quant_storage).
_STORAGE = (torch.uint8, torch.int8, *FLOATS)


class FourBitReader(FormatReader):
    """Semantics: `W.flatten()[i] = quant_map[nibble i] * absmax[i // blocksize]`, the high nibble of a byte first.

    With double quantization absmax is `nested_quant_map[absmax[j]] * nested_absmax[j // nested_blocksize] +
    nested_offset` (bitsandbytes/functional.py, QuantState). Whether a module is quantized is told by its tensors.
    """

    def __init__(self, settings: Settings, checkpoint: Checkpoint) -> None:
        kind = str(settings.get("bnb_4bit_quant_type", default="fp4")).lower()
        nested = settings.flag("bnb_4bit_use_double_quant", False)
        super().__init__(f"bitsandbytes {kind}{', double quantization' if nested else ''}", checkpoint)

    def expected(self, module: str, shape: tuple[int, int]) -> dict[str, Expected]:
        """See `FormatReader`."""
        kind = next((kind for kind in KINDS if f"{module}.{_STATE}{kind}" in self.checkpoint), None)
        weight = f"{module}.weight"
        # Floats of another shape are bytes in disguise, whose state is missing.
        disguised = weight in self.checkpoint and tuple(self.checkpoint.tensor(weight).shape) != shape
        if kind is None and self.is_plain(module) and not disguised:
            return {}
        state = QuantState.usual(KINDS[0]) if kind is None else self._state(module, kind, shape)
        count = math.prod(shape)
        if count % 2:
            raise self.refuse_shape(module, shape, "two weights share a byte")
        itemsize = self.checkpoint.tensor(weight).itemsize if weight in self.checkpoint else 1
        blocks = -(-count // state.blocksize)
        expected = {
            "weight": Expected(_STORAGE, ((count // 2 // itemsize, 1),)),
            "weight.absmax": Expected((torch.uint8 if state.nested else torch.float32,), ((blocks,),)),
            "weight.quant_map": Expected((torch.float32,), ((16,),)),
            f"{_STATE}{state.kind}": Expected((torch.uint8,), ((state.nbytes,),)),
        }
        if state.nested:
            expected["weight.nested_absmax"] = Expected((torch.float32,), ((-(-blocks // state.nested_blocksize),),))
            expected["weight.nested_quant_map"] = Expected((torch.float32,), ((256,),))
        return expected

    def _state(self, module: str, kind: str, shape: tuple[int, int]) -> QuantState:
        name = f"{module}.{_STATE}{kind}"
        try:
            return read_state(self.checkpoint.tensor(name), kind, shape)
        except ValueError as error:
            raise CheckpointError(f"checkpoint {self.checkpoint.folder} has {name}: {error}") from error

    def form(self, module: str, shape: tuple[int, int], tensors: Mapping[str, Tensor]) -> Lookup:
        """See `FormatReader`."""
        kind = next(kind for kind in KINDS if f"{_STATE}{kind}" in tensors)
        state = self._state(module, kind, shape)
        raw = tensors["weight"].contiguous().view(torch.uint8).view(-1)
        codes = torch.stack([raw >> 4, raw & 15], dim=1).view(shape)
        absmax, block = _by_row(_absmax(state, tensors), state.blocksize, shape)
        return Lookup(codes, absmax, tensors["weight.quant_map"].clone(), block)


def _absmax(state: QuantState, tensors: Mapping[str, Tensor]) -> Tensor:
    """float32 `[blocks]`, the second quantization undone."""
    absmax = tensors["weight.absmax"]
    if not state.nested:
        return absmax
    outer = tensors["weight.nested_absmax"].repeat_interleave(state.nested_blocksize)[: absmax.shape[0]]
    return tensors["weight.nested_quant_map"][absmax.long()] * outer + state.nested_offset


def _by_row(absmax: Tensor, blocksize: int, shape: tuple[int, int]) -> tuple[Tensor, int]:
    """float32 `[N, K / block]`, and block.

    bitsandbytes counts its blocks through the ends of the rows. Where that makes a block lie in two rows, all are cut
    into pieces that do not.
    """
    outputs, inputs = shape
    block = math.gcd(inputs, blocksize)
    first = torch.arange(0, outputs * inputs, block)  # of each piece
    return absmax[first // blocksize].view(outputs, inputs // block), block

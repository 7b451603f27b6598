"""AWQ as AutoAWQ writes it: the layout for its matrix products."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import GroupedInts
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.quantized.expected import FLOATS, Expected
from loraplex_server.models.quantized.packing import WORD, unpacked
from loraplex_server.models.quantized.reader import FormatReader
from loraplex_server.models.quantized.settings import Settings

_BITS = 4
_FIELDS = WORD // _BITS
# Where in its word each of eight outputs lies: a word holds outputs 0 2 4 6 1 3 5 7, the lowest bits first, so that
# a GPU can take two of them at a time into the halves of a register.
_PLACES = [0, 4, 1, 5, 2, 6, 3, 7]
_LAYOUT = "gemm"


class AwqReader(FormatReader):
    """Semantics: `W[n, k] = scales[k // group, n] * (qweight[k, n] - qzeros[k // group, n])`.

    Both packed tensors pack outputs, in an order of their own (awq/modules/linear/gemm.py). Whether a module is
    quantized is told by its tensors.

    Raises:
        UnsupportedModelError: another layout, other bits, or no zero points.
        CheckpointError: the config is damaged.
    """

    def __init__(self, settings: Settings, checkpoint: Checkpoint) -> None:
        version = str(settings.get("version", "format", "checkpoint_format", default="gemm")).lower()
        if str(settings.get("backend", default="")).lower() == "llm-awq":  # which says its layout there
            version = "llm-awq"
        if version != _LAYOUT:
            raise settings.unsupported(f"the AWQ layout {version}", f"save it with version {_LAYOUT}")
        bits = settings.integer("bits", "w_bit", default=_BITS)
        if bits != _BITS:
            raise settings.unsupported(f"AWQ at {bits} bits", "AutoAWQ has 4 bits alone")
        if not settings.flag("zero_point", True):
            raise settings.unsupported("AWQ without zero points", "quantize it with zero_point true")
        self._group = settings.integer("group_size", "q_group_size", default=128)
        super().__init__(f"AWQ int4 group {self._group}", checkpoint)

    def _group_of(self, inputs: int) -> int:
        return inputs if self._group == -1 else self._group

    def expected(self, module: str, shape: tuple[int, int]) -> dict[str, Expected]:
        """See `FormatReader`."""
        if f"{module}.qweight" not in self.checkpoint and self.is_plain(module):
            return {}
        outputs, inputs = shape
        group = self._group_of(inputs)
        if outputs % _FIELDS or group < 1 or inputs % group:
            raise self.refuse_shape(module, shape, f"it needs multiples of {_FIELDS} outputs and {group} inputs")
        groups = inputs // group
        return {
            "qweight": Expected((torch.int32,), ((inputs, outputs // _FIELDS),)),
            "qzeros": Expected((torch.int32,), ((groups, outputs // _FIELDS),)),
            "scales": Expected(FLOATS, ((groups, outputs),)),
        }

    def form(self, module: str, shape: tuple[int, int], tensors: Mapping[str, Tensor]) -> GroupedInts:
        """See `FormatReader`."""
        # Not contiguous(), which leaves one row in the mapped file.
        scale = tensors["scales"].t().clone(memory_format=torch.contiguous_format)
        zero = _by_output(tensors["qzeros"]).to(scale.dtype)
        return GroupedInts(_by_output(tensors["qweight"]), scale, zero, self._group_of(shape[1]), _BITS)


def _by_output(packed: Tensor) -> Tensor:
    """int32 `[R, N / 8]` to uint8 `[N, R]`."""
    fields = unpacked(packed, _BITS).view(packed.shape[0], -1, _FIELDS)
    return fields[:, :, _PLACES].view(packed.shape[0], -1).t().contiguous()

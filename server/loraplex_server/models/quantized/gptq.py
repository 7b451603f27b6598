"""GPTQ as AutoGPTQ and GPTQModel write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import GroupedInts
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.errors import CheckpointError
from loraplex_server.models.quantized.expected import FLOATS, Expected
from loraplex_server.models.quantized.gptq_zeros import zero_points
from loraplex_server.models.quantized.input_order import input_order
from loraplex_server.models.quantized.packing import WORD, unpacked
from loraplex_server.models.quantized.reader import FormatReader
from loraplex_server.models.quantized.settings import Settings

_FORMATS = ("gptq", "gptq_v2")
_BITS = (4, 8)


@dataclass(frozen=True)
class _Rule:
    """How one module was quantized."""

    bits: int
    group: int  # -1: all inputs are one
    act_order: bool

    def group_of(self, inputs: int) -> int:
        return inputs if self.group == -1 else self.group


class GptqReader(FormatReader):
    """Semantics: `W[n, k] = scales[g, n] * (qweight[k, n] - qzeros[g, n])`, `g = g_idx[k]`.

    `qweight` packs inputs, `qzeros` outputs, the lowest bits first (auto_gptq/nn_modules/qlinear/qlinear_cuda.py,
    gptqmodel/nn_modules/qlinear/torch.py). Whether a module is quantized is told by its tensors.

    Raises:
        UnsupportedModelError: the bits, or a layout made for one kernel.
        CheckpointError: the config is damaged.
    """

    def __init__(self, settings: Settings, checkpoint: Checkpoint) -> None:
        version = str(settings.get("checkpoint_format", "format", default="gptq")).lower()
        if version not in _FORMATS or settings.flag("is_marlin_format", False):
            raise settings.unsupported(
                f"the GPTQ layout {version if version not in _FORMATS else 'marlin'}",
                f"save it with checkpoint_format {' or '.join(_FORMATS)}",
            )
        if settings.get("pack_dtype", default="int32") not in ("int32", "torch.int32"):
            raise settings.unsupported("GPTQ packed in other words than int32", "save it with pack_dtype int32")
        self._settings = settings
        self._dynamic = settings.get("dynamic", default={})
        if not isinstance(self._dynamic, dict):
            raise CheckpointError(f"dynamic in {settings.source} is not a JSON object")
        self._first_version = version == "gptq"
        rule = self._rule({})
        super().__init__(f"GPTQ int{rule.bits} group {rule.group}{' act-order' if rule.act_order else ''}", checkpoint)

    def _rule(self, override: Mapping[str, Any]) -> _Rule:
        settings = Settings(self._settings.method, self._settings.source, {**self._settings.values, **override})
        bits, group = settings.integer("bits"), settings.integer("group_size", default=-1)
        if bits not in _BITS:
            raise settings.unsupported(f"GPTQ at {bits} bits", "quantize it to 4 or 8 bits")
        if group != -1 and group < 1:
            raise CheckpointError(f"group_size in {settings.source} must be -1 or above 0, not {group}")
        return _Rule(bits, group, settings.flag("desc_act", False))

    def _rule_of(self, module: str) -> _Rule:
        """`dynamic` maps patterns to what is different for the modules that they match; the first one counts.

        (gptqmodel/quantization/config.py, `dynamic_get`; patterns that begin with "-:" leave modules alone, whose
        tensors say so already.)
        """
        for pattern, override in self._dynamic.items():
            if pattern.startswith("-:") or not self._settings.compiled(pattern.removeprefix("+:")).match(module):
                continue
            if not isinstance(override, dict):
                raise CheckpointError(f"dynamic in {self._settings.source} has {override!r} for {pattern}")
            return self._rule(override)
        return self._rule({})

    def expected(self, module: str, shape: tuple[int, int]) -> dict[str, Expected]:
        """See `FormatReader`."""
        if f"{module}.qweight" not in self.checkpoint and self.is_plain(module):
            return {}
        rule = self._rule_of(module)
        outputs, inputs = shape
        fields = WORD // rule.bits
        if outputs % fields or inputs % fields:
            raise self.refuse_shape(module, shape, f"both must be multiples of {fields}")
        groups = -(-inputs // rule.group_of(inputs))
        expected = {
            "qweight": Expected((torch.int32,), ((inputs // fields, outputs),)),
            "qzeros": Expected((torch.int32,), ((groups, outputs // fields),)),
            "scales": Expected(FLOATS, ((groups, outputs),)),
        }
        if rule.act_order or f"{module}.g_idx" in self.checkpoint:
            expected["g_idx"] = Expected((torch.int32, torch.int64), ((inputs,),))
        if self._has_empty_bias(module):
            expected["bias"] = Expected(FLOATS, ((outputs,),))
        return expected

    def _has_empty_bias(self, module: str) -> bool:
        """AutoGPTQ saved a bias of zeros for linears that have none."""
        name = f"{module}.bias"
        return name in self.checkpoint and not bool(self.checkpoint.tensor(name).any())

    def form(self, module: str, shape: tuple[int, int], tensors: Mapping[str, Tensor]) -> GroupedInts:
        """See `FormatReader`."""
        rule = self._rule_of(module)
        group = rule.group_of(shape[1])
        codes = unpacked(tensors["qweight"].t(), rule.bits)
        order = _order(tensors.get("g_idx"), group, rule.act_order)
        if order is not None:
            codes = codes[:, order]
        zeros = zero_points(tensors["qzeros"], rule.bits, first_version=self._first_version, meta=self._meta())
        # Not contiguous(), which leaves one row in the mapped file.
        scale = tensors["scales"].t().clone(memory_format=torch.contiguous_format)
        symmetric = bool((zeros == 1 << (rule.bits - 1)).all())
        zero = None if symmetric else zeros.t().contiguous().to(scale.dtype)
        return GroupedInts(codes, scale, zero, group, rule.bits, order)

    def _meta(self) -> str:
        meta = self._settings.get("meta", default={})
        return str(meta.get("quantizer", "")) if isinstance(meta, dict) else ""


def _order(g_idx: Tensor | None, group: int, act_order: bool) -> Tensor | None:
    # Without act-order some writers left g_idx empty, since the kernels of then did not look at it.
    if g_idx is None or (not act_order and not bool(g_idx.any())):
        return None
    return input_order(g_idx, group)

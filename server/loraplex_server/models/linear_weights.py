"""From a checkpoint to the weights of the linears, in the form that they are served in."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from loraplex_adapters.shard import SitePart
from loraplex_kernels.linear import BaseWeight, Quantization, RowWeight, make_weight
from loraplex_kernels.linear.dense import DenseWeight
from loraplex_kernels.linear.forms import WeightForm
from loraplex_kernels.linear.int8 import Int8Weight
from loraplex_kernels.linear.packed import PackedWeight, packable
from loraplex_kernels.linear.quantize import make_int8
from loraplex_kernels.linear.rounders import ROUNDERS, round_weight
from loraplex_kernels.linear.rounding import round_rows, row_scales
from loraplex_kernels.linear.serve import serve
from loraplex_kernels.linear.side_by_side import SideBySide
from loraplex_kernels.linear.stored import StoredWeight
from loraplex_server.models.blueprint import LinearPlan
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.errors import CheckpointError, UnsupportedModelError
from loraplex_server.models.head_form import HeadForm
from loraplex_server.models.parted import WHOLE, parted_form, pieces
from loraplex_server.models.quantized.reader import WeightReader
from loraplex_server.models.rounded_cache import RoundedCache

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """What the weights become: device, the activations' dtype, the form of the layers' linears and of the head."""

    device: torch.device
    dtype: torch.dtype
    quantization: Quantization
    head: HeadForm = "none"


class LinearWeights:
    """The linears of one model, made one at a time, so that no more than one is in memory twice.

    Args:
        checkpoint: open; its tensors were checked.
        target: what they become.
        reader: for what the checkpoint has quantized; None where all of it is floating point.
        cache: of what was rounded before; None for none.
    """

    def __init__(
        self, checkpoint: Checkpoint, target: Target, reader: WeightReader | None, cache: RoundedCache | None
    ) -> None:
        self.checkpoint = checkpoint
        self.target = target
        self._reader = reader
        self._cache = cache
        self._rounded_anew = 0
        self.unpacked = False  # whether some quantized weight has no kernel

    @property
    def name(self) -> str:
        """The form, for people."""
        return self.target.quantization if self._reader is None else self._reader.name

    def summary(self) -> str:
        """What was done, for the log."""
        head = "" if self.target.head == "none" else f"; lm_head in {self.target.head}"
        if self.target.quantization not in ROUNDERS:
            return f"{self.name}{head}"
        found = 0 if self._cache is None else self._cache.found
        return f"{self._rounded_anew} linears rounded to {self.name}, {found} found rounded{head}"

    def quantized(self, plan: LinearPlan) -> dict[str, Mapping[str, tuple[int, ...]]]:
        """Of the plan's modules that the checkpoint has quantized, names and shapes of what stands for the weight."""
        if self._reader is None:
            return {}
        found = {module: self._reader.tensors(module, shape) for module, shape in plan.shapes()}
        return {module: tensors for module, tensors in found.items() if tensors}

    def unused(self, plan: LinearPlan) -> dict[str, tuple[int, ...]]:
        """Names and shapes of what the checkpoint has beside the plan's modules that is known but not used."""
        if self._reader is None:
            return {}
        return {name: shape for module in plan.names for name, shape in self._reader.unused(module).items()}

    def is_quantized(self, module: str, shape: tuple[int, int]) -> bool:
        """Whether the checkpoint has quantized a module."""
        return self._reader is not None and bool(self._reader.tensors(module, shape))

    def floats(self, *names: str, cuts: Sequence[SitePart] = ()) -> Tensor:
        """Tensors that stay floating point, or parts of them, stacked, where they will be used."""
        return self.checkpoint.stack(names, self.target.dtype, cuts).to(self.target.device)

    def release(self) -> None:
        """Let go of the memory that weights were made from."""
        self.checkpoint.release()

    def table(self, name: str, cut: SitePart = WHOLE) -> RowWeight:
        """Rows of the output layer of a floating-point checkpoint, which may be the embedding too.

        Its results are float32 where the kernel can: scores are chosen from in that type.
        """
        target, (weight,) = self.target, pieces(self.checkpoint.tensor(name), cut)
        if target.head == "int8":  # what the checkpoint has is rounded, not what the model's dtype leaves of it
            return Int8Weight(weight, target.dtype, wide=True)
        if target.device.type == "cpu" and weight.dtype == target.dtype and packable(weight):
            return PackedWeight(weight, wide=True)  # from the mapped file, which no other copy is made of
        weight = self.floats(name, cuts=(cut,))
        return PackedWeight(weight, wide=True) if packable(weight) else DenseWeight(weight)

    def make(self, plan: LinearPlan, cuts: Sequence[SitePart] = ()) -> BaseWeight:
        """The weight of a plan's linears.

        Args:
            plan: of the whole linears.
            cuts: what is served of each; none: all of all. What is rounded is so as a whole before.

        Raises:
            UnsupportedModelError: the form that was asked for has no place for one of them, or cannot be cut so.
            CheckpointError: what the checkpoint holds of it makes no sense, or nothing that a kernel could use.
        """
        target, cuts = self.target, cuts or (WHOLE,) * len(plan.names)
        if self._reader is None and target.quantization == "int8":
            return self._eight_bit(plan, cuts)
        if self._reader is None and target.quantization == "none":
            weight = self.checkpoint.stack([f"{name}.weight" for name in plan.names], target.dtype, cuts)
            return make_weight(weight, "none", target.dtype, target.device)
        linears = zip(plan.shapes(), cuts, strict=True)
        parts = [self._part(module, shape, cut) for (module, shape), cut in linears]
        try:
            return self._together(parts)
        except ValueError as error:
            raise CheckpointError(f"{self.checkpoint.folder}, {', '.join(plan.names)}: {error}") from error

    def dequantized(self, module: str, shape: tuple[int, int]) -> Tensor:
        """`[N, K]` of a linear of the layers: the weight that `make` serves, rounding included."""
        if self._reader is None and self.target.quantization == "none":
            return self.checkpoint.stack([f"{module}.weight"], self.target.dtype)
        if self._reader is None and self.target.quantization == "int8":
            rounded, scales = round_rows(self.checkpoint.tensor(f"{module}.weight"))
            return rounded.to(torch.float32) * scales[:, None]
        part = self._part(module, shape, WHOLE)
        return part if isinstance(part, Tensor) else part.dequantized()

    def _eight_bit(self, plan: LinearPlan, cuts: Sequence[SitePart]) -> BaseWeight:
        """A row whose inputs are cut keeps the whole row's scale, so that all ranks together have one process's weight.

        Rounded from what the checkpoint has, not from what the model's dtype would leave of it.
        """
        names, scales = [f"{name}.weight" for name in plan.names], None
        if any(cut.inputs is not None for cut in cuts):
            uncut = zip(names, [replace(cut, inputs=None) for cut in cuts], strict=True)
            parts = [rows for name, cut in uncut for rows in pieces(self.checkpoint.tensor(name), cut)]
            scales = torch.cat([row_scales(rows) for rows in parts])
        weight = self.checkpoint.stack(names, torch.float32, cuts)
        return make_int8(weight, self.target.dtype, self.target.device, scales)

    def _part(self, module: str, shape: tuple[int, int], cut: SitePart) -> WeightForm | Tensor:
        if self._reader is None:
            return parted_form(self._rounded(module), cut, module)
        if self._reader.tensors(module, shape):
            return parted_form(self._reader.read(module, shape), cut, module)
        return self.checkpoint.stack([f"{module}.weight"], self.target.dtype, [cut])

    def _rounded(self, module: str) -> WeightForm:
        """Each linear by itself, as in the checkpoint, for a form may depend on the whole of a weight."""
        kept = None if self._cache is None else self._cache.get(module)
        if kept is not None:
            return kept
        weight = self.checkpoint.tensor(f"{module}.weight").to(self.target.device)
        try:
            form = round_weight(weight, self.target.quantization)
        except ValueError as error:
            raise UnsupportedModelError(f"--quantization {self.target.quantization}: {module}: {error}") from error
        self._rounded_anew += 1
        if self._cache is not None:
            self._cache.put(module, form)
        return form

    def _together(self, parts: Sequence[WeightForm | Tensor]) -> BaseWeight:
        """One stacked weight, or several where they have not the same form."""
        forms = [part for part in parts if not isinstance(part, Tensor)]
        if len(parts) > 1 and len(forms) == len(parts) and len({type(form) for form in forms}) == 1:
            try:
                return self._serve(type(forms[0]).stack(forms))
            except ValueError as error:  # another group in one of them, say
                logger.debug("served side by side: %s", error)
        served = [self._serve(part) for part in parts]
        return served[0] if len(served) == 1 else SideBySide(served)

    def _serve(self, part: WeightForm | Tensor) -> BaseWeight:
        if isinstance(part, Tensor):
            return make_weight(part, "none", self.target.dtype, self.target.device)
        weight = serve(part, self.target.dtype, self.target.device)
        self.unpacked |= isinstance(weight, StoredWeight)
        return weight

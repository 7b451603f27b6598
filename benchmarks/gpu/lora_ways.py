"""The ways to add adapters that are compared."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor

from gpu.lora_case import LoraCase
from gpu.outcome import WrongError
from loraplex_kernels.lora import add_lora
from loraplex_kernels.lora.eager import add_lora_eager

Way = Callable[[Tensor], object]  # adds the adapters to y
Builder = Callable[[LoraCase], Way]

# Timed on one set of inputs: its base's weights, which it reads too, are larger than the cache or about as large.
ALONE = ("PEFT",)
# Off by no more, where values are of the order of 1 and sums are rounded to the dtype.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}


def builders(case: LoraCase) -> dict[str, Builder]:
    """What makes each way for a case like this one, by name. "ours" chooses one launch or two by itself."""
    found: dict[str, Builder] = {"ours": _ours}
    if case.y.is_cuda:
        found |= {"one launch": partial(_triton, fused=True), "two launches": partial(_triton, fused=False)}
    found["torch loop"] = _looped
    if not case.table.int8:
        found["gathered bmm"] = _gathered
        if find_spec("peft") is not None:
            found["PEFT"] = _peft
    return found


def check(case: LoraCase, name: str, way: Way, expected: Tensor) -> None:
    """Raises WrongError where a way is not the formula: a wrong op is not timed."""
    y = case.y.clone()
    way(y)
    worst, limit = float((y.double() - expected).abs().max()), TOLERANCE[y.dtype]
    if not worst < limit:
        raise WrongError(worst, limit, f"{name} on {case.shape.name}")


def _ours(case: LoraCase) -> Way:
    return lambda y: add_lora(y, case.x, case.group, case.batch, case.table)


def _triton(case: LoraCase, *, fused: bool) -> Way:
    from loraplex_kernels.lora.triton_op import add_lora_triton  # a machine without a GPU need not have triton

    return lambda y: add_lora_triton(y, case.x, case.group, case.batch, case.table, fused=fused)


def _looped(case: LoraCase) -> Way:
    return lambda y: add_lora_eager(y, case.x, case.group, case.batch, case.table)


def _gathered(case: LoraCase) -> Way:
    """Each row's own A and B copied together, padded to the highest rank, then two batched products."""
    table, highest, used = case.table, max(case.ranks), sorted(set(case.slots))
    index = torch.tensor([used.index(slot) for slot in case.slots], device=case.x.device)

    def stacked(site: int) -> tuple[Tensor, Tensor]:
        cells = [cell for slot in used if (cell := table.weights(slot, site)) is not None]
        pad = [torch.nn.functional.pad for _ in cells]
        a = torch.stack([put(cell.a, (0, 0, 0, highest - len(cell.a))) for put, cell in zip(pad, cells, strict=True)])
        b = torch.stack([put(cell.b, (0, 0, 0, highest - len(cell.b))) for put, cell in zip(pad, cells, strict=True)])
        return a.transpose(1, 2), b * cells[0].scale

    weights = [stacked(site) for site in case.group.sites]

    def add(y: Tensor) -> None:
        for (a, b), offset, width in zip(weights, case.group.offsets, case.group.widths, strict=True):
            y[:, offset : offset + width] += (case.x[:, None] @ a[index] @ b[index])[:, 0]

    return add


def _peft(case: LoraCase) -> Way:
    """PEFT's layer with an adapter for each row.

    A layer computes the base too, which the others do not: here a base of zeros, whose product is part of the time.
    """
    from peft import LoraConfig
    from peft.tuners.lora.layer import Linear as LoraLinear

    names = [f"adapter{slot}" for slot in case.slots]
    layers = []
    for site, width in zip(case.group.sites, case.group.widths, strict=True):
        base = torch.nn.Linear(case.shape.in_features, width, bias=False, device=case.x.device, dtype=case.x.dtype)
        torch.nn.init.zeros_(base.weight)
        layer = None
        for slot in sorted(set(case.slots)):
            cell = case.table.weights(slot, site)
            if cell is None:
                raise ValueError("each adapter of a case is on each linear")
            rank, name = len(cell.a), f"adapter{slot}"
            config = LoraConfig(r=rank, lora_alpha=cell.scale * rank, init_lora_weights=False)
            if layer is None:
                layer = LoraLinear(base, name, config=config, r=rank, lora_alpha=cell.scale * rank)
            else:
                layer.update_layer(name, rank, lora_alpha=cell.scale * rank, config=config)
            layer.lora_A[name].weight.data = cell.a
            layer.lora_B[name].weight.data = cell.b.T.contiguous()
        layers.append(layer.eval())

    @torch.no_grad()
    def add(y: Tensor) -> None:
        for layer, offset, width in zip(layers, case.group.offsets, case.group.widths, strict=True):
            y[:, offset : offset + width] += layer(case.x, adapter_names=names)

    return add

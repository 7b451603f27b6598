"""The ways to add adapters that are compared."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gpu.lora_case import LoraCase
from loraplex_kernels.lora import add_lora
from loraplex_kernels.lora.eager import add_lora_eager

Way = Callable[[Tensor], object]  # adds the adapters to y

# Off by no more, where values are of the order of 1 and sums are rounded to the dtype.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}


def lora_ways(case: LoraCase) -> dict[str, Way]:
    """By name. "ours" chooses one launch or two by itself."""
    arguments = (case.x, case.group, case.batch, case.table)
    ways: dict[str, Way] = {"ours": lambda y: add_lora(y, *arguments)}
    if case.y.is_cuda:
        from loraplex_kernels.lora.triton_op import add_lora_triton

        ways["one launch"] = lambda y: add_lora_triton(y, *arguments, fused=True)
        ways["two launches"] = lambda y: add_lora_triton(y, *arguments, fused=False)
    ways["torch loop"] = lambda y: add_lora_eager(y, *arguments)
    if not case.table.int8:
        ways["gathered bmm"] = _gathered(case)
        peft = _peft(case)
        if peft is not None:
            ways["PEFT"] = peft
    return ways


def check(case: LoraCase, name: str, way: Way, expected: Tensor) -> None:
    """Raises ArithmeticError where a way is not the formula: a wrong op is not timed."""
    y = case.y.clone()
    way(y)
    worst = float((y.double() - expected).abs().max())
    if not worst < TOLERANCE[y.dtype]:
        raise ArithmeticError(f"{name} on {case.shape.name} is off by {worst}: no timing of a wrong op")


def _gathered(case: LoraCase) -> Way:
    """Each row's own A and B copied together, padded to the highest rank, then two batched products."""
    table, highest = case.table, max(case.ranks)
    index = torch.tensor(case.slots, device=case.x.device)

    def stacked(site: int) -> tuple[Tensor, Tensor]:
        cells = [cell for slot in range(table.slots) if (cell := table.weights(slot, site)) is not None]
        pad = [torch.nn.functional.pad for _ in cells]
        a = torch.stack([put(cell.a, (0, 0, 0, highest - len(cell.a))) for put, cell in zip(pad, cells, strict=True)])
        b = torch.stack([put(cell.b, (0, 0, 0, highest - len(cell.b))) for put, cell in zip(pad, cells, strict=True)])
        return a.transpose(1, 2), b * cells[0].scale

    weights = [stacked(site) for site in case.group.sites]

    def add(y: Tensor) -> None:
        for (a, b), offset, width in zip(weights, case.group.offsets, case.group.widths, strict=True):
            y[:, offset : offset + width] += (case.x[:, None] @ a[index] @ b[index])[:, 0]

    return add


def _peft(case: LoraCase) -> Way | None:
    """PEFT's layer with an adapter for each row; None where it is not installed.

    A layer computes the base too, which the others do not: here a base of zeros, whose product is part of the time.
    """
    try:
        from peft import LoraConfig
        from peft.tuners.lora.layer import Linear as LoraLinear
    except ImportError:
        return None
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

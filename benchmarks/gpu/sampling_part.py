"""Choosing the next tokens from logits, which lie in the cache, as just after the output layer wrote them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from sampling_cpu import SETTINGS, columns, steep
from torch import Tensor

from gpu.clock import Time
from gpu.outcome import WrongError
from gpu.part import Part, Row, Setting, record
from gpu.tables import Column
from loraplex_kernels import native
from loraplex_kernels.ops.sampling import Columns
from loraplex_kernels.ops.sampling.naive import draw_naive
from loraplex_kernels.ops.sampling.native import draw_native

VOCABULARY = {"llama-3.1-8b": 128_256, "tiny": 512}
DRAWN = ("temperature 1", "top_p 0.9", "top_k 50", "min_p 0.05")
WAYS = ("greedy", "torch argmax", *DRAWN, "torch top_p 0.9")


def measure(setting: Setting, rows: int) -> Row:
    """All ways of choosing, at one number of rows."""
    random = torch.Generator().manual_seed(5)
    logits = steep(rows, VOCABULARY[setting.shape], random).to(setting.device)
    ways = {
        "greedy": partial(_greedy, setting, logits),
        "torch argmax": partial(setting.clock.time, partial(torch.argmax, logits, dim=-1)),
    }
    for name in DRAWN:
        how = Columns(*(column.to(setting.device) for column in columns(rows, logits.shape[1], SETTINGS[name], random)))
        ways[name] = partial(_drawn, setting, logits, how)
    uniform = torch.rand(rows, 1, generator=random).to(setting.device)
    ways["torch top_p 0.9"] = partial(setting.clock.time, partial(_torch_top_p, logits, uniform, 0.9))
    outcomes = setting.timed(ways)
    kept = {"rows": rows, "vocabulary": logits.shape[1], **record(outcomes)}
    return Row((rows, logits.nbytes >> 10, *(outcomes[way] for way in WAYS)), kept)


def _greedy(setting: Setting, logits: Tensor) -> Time:
    choose: Callable[[], Tensor] = partial(torch.argmax, logits, dim=-1)
    if logits.is_cuda:
        from loraplex_kernels.ops.sampling.triton_argmax import argmax_triton

        def choose() -> Tensor:
            return argmax_triton(logits, logsum=False)[0]

    _check(choose(), logits.argmax(dim=-1), "greedy")
    return setting.clock.time(choose)


def _drawn(setting: Setting, logits: Tensor, how: Columns) -> Time:
    library = native.library()
    if logits.is_cuda:
        from loraplex_kernels.ops.sampling.triton_draw import draw_triton

        draw: Callable[[Tensor, Columns], Tensor] = draw_triton
    else:
        draw = draw_naive if library is None else partial(draw_native, library)
    expected = draw_naive(logits.cpu(), Columns(*(column.cpu() for column in how)))
    _check(draw(logits, how), expected.to(logits.device), "drawing")
    return setting.clock.time(partial(draw, logits, how))


def _check(found: Tensor, expected: Tensor, what: str) -> None:
    """Raises WrongError where rows have another token."""
    off = float((found != expected).double().mean())
    if off:
        raise WrongError(off, 0.0, what)


def _torch_top_p(logits: Tensor, uniform: Tensor, top_p: float) -> Tensor:
    """As it is commonly done: sort, sum, cut, draw from what is left."""
    weights, ids = torch.softmax(logits, dim=-1).sort(dim=-1, descending=True)
    sums = weights.cumsum(dim=-1)
    kept = torch.where(sums - weights < top_p, weights, 0).cumsum(dim=-1)
    place = torch.searchsorted(kept, uniform * kept[:, -1:], right=True).clamp(max=logits.shape[1] - 1)
    return ids.gather(1, place)


SAMPLING = Part(
    "Choosing tokens, us",
    lambda setting: (Column("rows"), Column("KiB", 6), *(Column(way, 8) for way in WAYS)),
    lambda setting: setting.rows,
    lambda rows: (rows,),
    measure,
)

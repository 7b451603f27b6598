"""The terms of adapters at the linears: what each of them makes of its rows, beside what the base makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from loraplex_server.models.adapter_step import TermUse
from loraplex_server.models.move import Move

if TYPE_CHECKING:
    from loraplex_server.models.linear import Linear

_ROWS = 512  # at once: what is computed in float32 on the way takes several times the room of the result


def linear_moves(linear: Linear, x: Tensor, y: Tensor, use: TermUse) -> Iterator[Move]:
    """What one adapter's terms add to a linear's output.

    Args:
        linear: the base's.
        x: `[T, K]`.
        y: `[T, N]`, the base's output for x with its bias, no adapter added yet.
        use: the adapter and its rows.
    """
    for first in range(0, use.rows.shape[0], _ROWS):
        yield from _moves_of(linear, x, y, replace(use, rows=use.rows[first : first + _ROWS]))


def _moves_of(linear: Linear, x: Tensor, y: Tensor, use: TermUse) -> Iterator[Move]:
    terms, group = use.terms, linear.group
    for site, offset, width in zip(group.sites, group.offsets, group.widths, strict=True):
        if site not in terms.sites:
            continue
        own = _own_output(linear, x, use, site)
        if own is not None:
            width = min(width, own.shape[1])  # an lm_head of its own may have other rows: see Head
        columns = slice(offset, offset + width)
        base = y[:, columns].index_select(0, use.rows).float()
        result = base if own is None else own[:, :width].float()
        if site in terms.output_scale:
            result = result * terms.output_scale[site].float()
        move = result - base
        if site in terms.bias:
            move = move + terms.bias[site].float()
        yield Move(use.rows, columns, move * use.weight)


def _own_output(linear: Linear, x: Tensor, use: TermUse, site: int) -> Tensor | None:
    """`[n, out]` of the rows' own input or weight, the base's bias added; None where both are the base's."""
    scale, rotation, weight = (of.get(site) for of in (use.terms.input_scale, use.terms.rotation, use.terms.weight))
    if scale is None and rotation is None and weight is None:
        return None
    inside = _own_input(x.index_select(0, use.rows), scale, rotation)
    if weight is not None:
        return F.linear(inside, weight.to(x.dtype), linear.site_bias(site))
    # The base's weight may be packed or quantized, and comes only whole: the other sites' columns are dropped.
    place = linear.group.sites.index(site)
    first = linear.group.offsets[place]
    return linear.weight(inside, linear.bias)[:, first : first + linear.group.widths[place]]


def _own_input(x: Tensor, scale: Tensor | None, rotation: Tensor | None) -> Tensor:
    """`[n, K]` scaled and rotated, in float32 until the end."""
    inside = x.float()
    if scale is not None:
        inside = inside * scale.float()
    if rotation is not None:
        size = rotation.shape[-1]  # row vectors: x R, as in peft/tuners/oft/layer.py
        blocks = inside.view(inside.shape[0], -1, size).transpose(0, 1)  # [blocks, n, size]
        # Not matmul of [n, blocks, 1, size], which would copy the rotation for each row.
        inside = torch.bmm(blocks, rotation.float()).transpose(0, 1).reshape(x.shape)
    return inside.to(x.dtype)

"""A linear as it is served: the base weight, the bias, and what the step's adapters add."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from loraplex_kernels.linear import BaseWeight, dequantized_part
from loraplex_kernels.lora import SiteGroup
from loraplex_kernels.lora.op import add_lora
from loraplex_server.models.adapter_step import AdapterStep, TermUse
from loraplex_server.models.linear_terms import linear_moves
from loraplex_server.models.move import Move


class Linear:
    """One site, or several that share an input, stacked: `y = W x + bias + sum over the row's adapters`.

    Args:
        weight: `[N, K]`, N being the sum of the sites' widths.
        bias: `[N]` in the model's dtype.
        group: the sites and their widths.
    """

    def __init__(self, weight: BaseWeight, bias: Tensor | None, group: SiteGroup) -> None:
        self.weight = weight
        self.bias = bias
        self.group = group

    def __call__(self, x: Tensor, adapters: AdapterStep | None) -> Tensor:
        """`[T, K]` to `[T, N]`; the rows of `adapters` are those of `x`."""
        if adapters is None:
            return self.weight(x, self.bias)
        lora = adapters.lora
        # DoRA scales what the base weight gives, and the bias is no part of that (peft/tuners/lora/dora.py).
        late_bias = self.bias if lora is not None and lora.batch.magnitude else None
        y = self.weight(x, None if late_bias is not None else self.bias)
        moves = self._moves(x, y if late_bias is None else y + late_bias, adapters.terms) if adapters.terms else []
        if lora is not None:
            add_lora(y, x, self.group, lora.batch, lora.table)
        if late_bias is not None:
            y.add_(late_bias)
        for move in moves:
            move.add_to(y)
        return y

    def _moves(self, x: Tensor, y: Tensor, uses: Iterable[TermUse]) -> list[Move]:
        """What the terms of the step add to y, worked out before anything else is added."""
        here = [use for use in uses if not use.terms.sites.isdisjoint(self.group.sites)]
        return [move for use in here for move in linear_moves(self, x, y, use)]

    @property
    def nbytes(self) -> int:
        """Bytes of weight and bias."""
        return self.weight.nbytes + (0 if self.bias is None else self.bias.nbytes)

    def site_weight(self, site: int) -> Tensor:
        """float32 `[width, K]`: the part of one of the group's sites, as it is really served."""
        place = self.group.sites.index(site)
        first = self.group.offsets[place]
        return dequantized_part(self.weight, first, first + self.group.widths[place])

    def site_bias(self, site: int) -> Tensor | None:
        """`[width]`: the part of one of the group's sites, None where there is no bias."""
        if self.bias is None:
            return None
        place = self.group.sites.index(site)
        first = self.group.offsets[place]
        return self.bias[first : first + self.group.widths[place]]

"""A linear as it is served: the base weight, the bias, and the adapters' low-rank updates on top."""

from __future__ import annotations

from torch import Tensor

from loraplex_kernels.linear import BaseWeight
from loraplex_kernels.lora import LoraStep, SiteGroup
from loraplex_kernels.lora.op import add_lora


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

    def __call__(self, x: Tensor, lora: LoraStep | None) -> Tensor:
        """`[T, K]` to `[T, N]`; the entries of `lora` are rows of `x`."""
        if lora is None:
            return self.weight(x, self.bias)
        if not lora.batch.magnitude or self.bias is None:
            y = self.weight(x, self.bias)
            add_lora(y, x, self.group, lora.batch, lora.table)
            return y
        # DoRA scales what the base weight gives, and the bias is no part of that (peft/tuners/lora/dora.py).
        y = self.weight(x)
        add_lora(y, x, self.group, lora.batch, lora.table)
        return y.add_(self.bias)

    @property
    def nbytes(self) -> int:
        """Bytes of weight and bias."""
        return self.weight.nbytes + (0 if self.bias is None else self.bias.nbytes)

    def site_weight(self, site: int) -> Tensor:
        """float32 `[width, K]`: the part of one of the group's sites, as it is really served."""
        place = self.group.sites.index(site)
        first = self.group.offsets[place]
        return self.weight.dequantized()[first : first + self.group.widths[place]]

    def site_bias(self, site: int) -> Tensor | None:
        """`[width]`: the part of one of the group's sites, None where there is no bias."""
        if self.bias is None:
            return None
        place = self.group.sites.index(site)
        first = self.group.offsets[place]
        return self.bias[first : first + self.group.widths[place]]

"""A linear of which each rank has some of the inputs."""

from __future__ import annotations

from torch import Tensor

from loraplex_kernels.group import Group
from loraplex_kernels.linear import BaseWeight
from loraplex_kernels.lora import SiteGroup
from loraplex_server.models.adapter_step import AdapterStep
from loraplex_server.models.linear import Linear


class SummedLinear(Linear):
    """`Linear` over the rank's inputs, and the sum of that over all ranks: of the base and of all adapters at once.

    Args:
        weight: `[N, K]`, K being the rank's inputs.
        bias: `[N]`, of rank 0 alone.
        group: the sites and their widths.
        ranks: that have the other inputs.
    """

    def __init__(self, weight: BaseWeight, bias: Tensor | None, group: SiteGroup, ranks: Group) -> None:
        super().__init__(weight, bias, group)
        self._ranks = ranks

    def __call__(self, x: Tensor, adapters: AdapterStep | None) -> Tensor:
        """`[T, K]` to `[T, N]`, the same on all ranks."""
        y = super().__call__(x, adapters)
        self._ranks.all_reduce(y)
        return y

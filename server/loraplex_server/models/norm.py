"""Root-mean-square norm, with its weight."""

from __future__ import annotations

from torch import Tensor

from loraplex_kernels.ops import add_rms_norm, rms_norm
from loraplex_server.models.adapter_step import AdapterStep, TermUse
from loraplex_server.models.move import Move


class RmsNorm:
    """Args: name: module path. weight: `[H]`. eps: of the mean square. offset: added to the weight, 1 for Gemma."""

    def __init__(self, name: str, weight: Tensor, eps: float, offset: float) -> None:
        self.name = name
        self.weight = weight
        self.eps = eps
        self.offset = offset

    def __call__(self, x: Tensor, adapters: AdapterStep | None) -> Tensor:
        """`[T, ..., H]` to `[T, ..., H]`; the rows of `adapters` are those of the first dimension."""
        y = rms_norm(x, self.weight, self.eps, self.offset)
        if adapters is not None and adapters.terms:
            self._apply(y, x, adapters.terms)
        return y

    def add(self, x: Tensor, residual: Tensor, adapters: AdapterStep | None) -> tuple[Tensor, Tensor]:
        """Add `x` to the residual stream; returns the sum's norm and the sum, each `[T, H]`."""
        y, total = add_rms_norm(x, residual, self.weight, self.eps, self.offset)
        if adapters is not None and adapters.terms:
            self._apply(y, total, adapters.terms)
        return y, total

    def _apply(self, y: Tensor, x: Tensor, uses: tuple[TermUse, ...]) -> None:
        """Move the rows of adapters that have a weight of their own, by what it changes of `y`, the norm of `x`."""
        here = [(use, use.terms.norm[self.name]) for use in uses if self.name in use.terms.norm]
        for move in [self._move(y, x, use, weight) for use, weight in here]:  # all of them from the base's own output
            move.add_to(y)

    def _move(self, y: Tensor, x: Tensor, use: TermUse, weight: Tensor) -> Move:
        own = rms_norm(x.index_select(0, use.rows), weight.to(x.dtype), self.eps, self.offset)
        by = own.float() - y.index_select(0, use.rows).float()
        return Move(use.rows, slice(None), by * use.weight)

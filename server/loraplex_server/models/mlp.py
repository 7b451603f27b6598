"""The gated feed-forward block of one layer."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from loraplex_kernels.ops import gelu_tanh_and_mul, silu_and_mul
from loraplex_server.models.adapter_step import AdapterStep
from loraplex_server.models.config import Activation
from loraplex_server.models.linear import Linear

_GATED: dict[Activation, Callable[[Tensor], Tensor]] = {"silu": silu_and_mul, "gelu_tanh": gelu_tanh_and_mul}


class Mlp:
    """`down(activation(gate(x)) * up(x))`.

    Args:
        gate_up: `[T, H]` to `[T, 2 intermediate]`.
        down: `[T, intermediate]` to `[T, H]`.
        activation: of the gate.
    """

    def __init__(self, gate_up: Linear, down: Linear, activation: Activation) -> None:
        self.gate_up = gate_up
        self.down = down
        self.gated = _GATED[activation]

    def __call__(self, x: Tensor, adapters: AdapterStep | None) -> Tensor:
        """`[T, H]` to `[T, H]`."""
        return self.down(self.gated(self.gate_up(x, adapters)), adapters)

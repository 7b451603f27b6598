"""A Triton kernel as it was launched, described so that it can be compiled where there is no GPU."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Variant:
    """One of a kernel's compiled forms."""

    name: str  # the values that it was first launched with
    module: str  # of the kernel
    function: str  # its name there
    capability: int  # of the card that it was launched on
    signature: Mapping[str, str]  # Triton's type of each argument that is no constant: "*bf16", "*i32", "i32", "fp32"
    constants: Mapping[str, Any]  # the constexprs, and numbers that are 1
    divisible: tuple[str, ...] = ()  # arguments that 16 divides, as Triton specialises them
    num_warps: int = 4
    num_stages: int = 3
    options: Mapping[str, Any] | None = None  # further launch options

    @property
    def kernel(self) -> Any:
        """The triton.JITFunction."""
        return getattr(importlib.import_module(self.module), self.function)

    @property
    def form(self) -> tuple[Any, ...]:
        """What tells it from others, and from the compiler's view is all that there is."""
        parts = (self.signature, self.constants, self.options or {})
        return (
            *(self.module, self.function, self.capability, self.divisible, self.num_warps, self.num_stages),
            *(tuple(sorted(part.items())) for part in parts),
        )

"""A Triton kernel as it is really launched, described so that it can be compiled where there is no GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Variant:
    """One of a kernel's compiled forms.

    Every module `triton_*.py` with a kernel has `variants()`, which yields those that its host wrapper launches; the
    compile test finds them all, and fails where one spills registers.
    """

    name: str  # unique in its module
    kernel: Any  # triton.JITFunction
    signature: Mapping[str, str]  # Triton's type of each argument that is no constexpr: "*bf16", "*i32", "i32", "fp32"
    constants: Mapping[str, Any]  # the constexprs
    divisible: tuple[str, ...] = ()  # arguments that 16 divides, as Triton specialises them
    num_warps: int = 4
    num_stages: int = 3
    options: Mapping[str, Any] | None = None  # further launch options
    capabilities: tuple[int, ...] = (80, 90, 100)  # sm_80, sm_90, sm_100; those that it is launched on

"""What bounds are computed from, whether it was measured or read off a datasheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rates:
    """Of a machine.

    Attributes:
        read_gb_s: memory read, in 1e9 bytes a second.
        tflops: 1e12 multiplications and additions a second, by the type that is multiplied.
    """

    read_gb_s: float
    tflops: Mapping[str, float]

"""What the host wrappers launch, noted where there is no GPU: every form in which Triton compiles our kernels."""

from launches.family import Family, Row
from launches.recorder import recorded
from launches.variant import Variant

__all__ = ["Family", "Row", "Variant", "recorded"]

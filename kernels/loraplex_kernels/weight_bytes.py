"""What the weight of a linear takes in memory, by the form that it is served in. Plain Python: no weight is needed.

`tests/kernels/test_weight_bytes.py` holds each formula to the `nbytes` of a weight that was made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

_PANEL = 64  # outputs that the compiled kernels read side by side
_WORDS = 64  # bytes of a chunk of one output in planes: 128 codes of four bits, 64 of eight
_TABLE = 16 * 4  # what sixteen codes stand for, float32
_GPU_TILES = 16  # of rows, in the packed kernels' largest launch
_GPU_OUTPUTS = 32  # of the narrowest tile


@dataclass(frozen=True)
class Shape:
    """Of a linear, or of several that are stacked: `[outputs, inputs]`."""

    outputs: int
    inputs: int

    @property
    def weights(self) -> int:
        """How many there are."""
        return self.outputs * self.inputs


def floats(shape: Shape, itemsize: int) -> int:
    """Bytes of a floating-point weight, packed or not: packing has no padding."""
    return shape.weights * itemsize


def _panels(shape: Shape) -> int:
    return -(-shape.outputs // _PANEL)


def _cpu_int8(shape: Shape) -> int:
    """Inputs in steps of four, a scale and a sum an output."""
    return shape.outputs * (-(-shape.inputs // 4) * 4 + 4 + 4)


def _cpu_four(group: int, scale: int, zero: int = 0) -> Callable[[Shape], int]:
    """Whole panels: of each group scales, zero points and codes."""

    def nbytes(shape: Shape) -> int:
        header = _PANEL * (scale + zero) * -(-shape.inputs // group)
        return _panels(shape) * (header + -(-shape.inputs // 2) * _PANEL) + _TABLE

    return nbytes


def _stored_eight(shape: Shape) -> int:
    """As rounded, a byte a weight and a float32 scale an output: no kernel of the CPU's reads it."""
    return shape.weights + 4 * shape.outputs


def _gpu_codes(bits: int, group: int, scale: int, zero: int = 0, table: int = 0) -> Callable[[Shape], int]:
    """Planes of whole chunks, scales and zero points, and the kernel's counters."""

    def nbytes(shape: Shape) -> int:
        groups = -(-shape.inputs // group) if group else 1
        words = -(-shape.inputs // (_WORDS * 8 // bits)) * shape.outputs * _WORDS
        counters = _GPU_TILES * -(-shape.outputs // _GPU_OUTPUTS) * 4
        return words + groups * shape.outputs * (scale + zero) + table + counters

    return nbytes


# Of the forms that --quantization rounds to; group sizes and formats are those of loraplex_kernels.linear.rounders.
ROUNDED: Mapping[str, Mapping[str, Callable[[Shape], int]]] = {
    "cpu": {
        "int8": _cpu_int8,
        "int4": _cpu_four(128, 2),
        "int4-32": _cpu_four(32, 2, 2),
        "nf4": _cpu_four(64, 4),
        "int8-weight": _stored_eight,
        "fp8": _stored_eight,
    },
    "cuda": {
        "int4": _gpu_codes(4, 128, 2),
        "int4-32": _gpu_codes(4, 32, 2, 1),
        "nf4": _gpu_codes(4, 64, 4, table=_TABLE),
        "int8-weight": _gpu_codes(8, 0, 4),
        "fp8": _stored_eight,
    },
}

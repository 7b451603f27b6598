"""GPUs by name: memory as their drivers report it, and rates from their makers' datasheets.

Rates are those of dense bfloat16 products with float32 sums, without sparsity. Sources: NVIDIA's datasheets of the H100
Tensor Core GPU, H200, A100 Tensor Core GPU, L4, L40S, A10 and B200, and the Ada GPU architecture whitepaper for the RTX
4090.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """Args: memory: bytes. read_gb_s: 1e9 bytes a second. tflops: 1e12 operations a second in bfloat16."""

    memory: int
    read_gb_s: float
    tflops: float


GPUS: Mapping[str, Gpu] = {
    "b200": Gpu(183_359 * MIB, 8000, 2250),
    "h200": Gpu(143_771 * MIB, 4800, 989),
    "h100": Gpu(81_559 * MIB, 3350, 989),
    "h100-pcie": Gpu(81_559 * MIB, 2000, 756),
    "a100-80": Gpu(81_920 * MIB, 2039, 312),
    "a100-40": Gpu(40_960 * MIB, 1555, 312),
    "l40s": Gpu(46_068 * MIB, 864, 362),
    "a10": Gpu(23_028 * MIB, 600, 125),
    "l4": Gpu(23_034 * MIB, 300, 121),
    "rtx-4090": Gpu(24_564 * MIB, 1008, 165),
}

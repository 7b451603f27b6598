"""The rates of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from loraplex_server.bench.limits.rates import Rates
from loraplex_server.bench.limits.threads import computing_with
from loraplex_server.bench.limits.timing import Rate, rate

# Sixteen times the last-level cache of the largest part that this is likely to meet.
READ_MB = 512
# Square products: large enough that packing the weights is nothing, as it is for a server that packs them once.
GEMM_SIZES = {"float32": 2048, "bfloat16": 4096, "int8": 4096}


@dataclass(frozen=True)
class Machine:
    """The rates at some number of threads.

    Attributes:
        threads: of torch.
        read_gb_s: of a sum over memory that no cache holds.
        tflops: of a matrix product, by type.
    """

    threads: int
    read_gb_s: Rate
    tflops: Mapping[str, Rate]

    @property
    def best(self) -> Rates:
        """The best of each rate."""
        return Rates(self.read_gb_s.best, {name: rate.best for name, rate in self.tflops.items()})


def measure(threads: int, scale: float = 1.0) -> Machine:
    """Measure this machine's CPU; a few seconds, and right only while nothing else runs.

    Args:
        threads: for torch, during the measurement.
        scale: of all sizes; 1 for a measurement, less for a trial.
    """
    with computing_with(threads):
        tflops = {name: gemm_rate(name, max(64, int(size * scale))) for name, size in GEMM_SIZES.items()}
        return Machine(threads, read_rate(max(1, int(READ_MB * scale))), tflops)


def read_rate(megabytes: int) -> Rate:
    """1e9 bytes a second that a sum over `megabytes` of float32 reads."""
    values = torch.ones(megabytes * 250_000)
    return rate(values.nbytes / 1e9, values.sum)


def gemm_rate(dtype: str, size: int) -> Rate:
    """1e12 operations a second of a product of two `[size, size]` matrices.

    int8 is a oneDNN linear with packed weights and per-row scales (W8A8), as quantized layers run; the others `x @ w`.

    Raises:
        ValueError: `dtype` is not float32, bfloat16 or int8.
    """
    work = 2 * size**3 / 1e12
    if dtype == "int8":
        return rate(work, _Int8Linear(size))
    if dtype not in GEMM_SIZES:
        raise ValueError(f"a product's type is {', '.join(GEMM_SIZES)}, not {dtype!r}")
    x, w = (torch.randn(size, size).to(getattr(torch, dtype)) for _ in range(2))
    out = torch.empty_like(x)
    return rate(work, lambda: torch.mm(x, w, out=out))


class _Int8Linear:
    """Signed activations are stored from 0 up with zero point 128: for plain int8 ones oneDNN's x86 code without AMX
    has only its reference loops, thousands of times slower."""

    def __init__(self, size: int) -> None:
        self._x = torch.randint(0, 256, (size, size), dtype=torch.uint8)
        weight = torch.randint(-127, 128, (size, size), dtype=torch.int8)
        self._packed: Tensor = torch.ops.onednn.qlinear_prepack(weight, None)
        self._scales, self._zeros = torch.ones(size), torch.zeros(size, dtype=torch.int64)

    def __call__(self) -> Tensor:
        weight = (self._packed, self._scales, self._zeros)
        output: tuple[object, ...] = (1.0, 0, torch.float32, "none", [], "")
        y: Tensor = torch.ops.onednn.qlinear_pointwise(self._x, 1.0, 128, *weight, None, *output)
        return y

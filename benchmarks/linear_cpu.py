"""The base model's linears on the CPU: bfloat16, int8, int4 and NF4 beside torch's own int4 kernel.

    python benchmarks/linear_cpu.py [--quick] [--threads 2]

Every call reads another copy of the weight than the one before, more of them than the caches hold, as the layers of a
model do. Times are microseconds a call, the lower quartile of many, all ways taking turns. The share beside each is of
its bound: the longer of reading its bytes at the rate that a sum over a large tensor reads, and of multiplying at the
rate of torch's product of large matrices (of bytes for int8, of bfloat16 for int4, of float32 for NF4, whose values
bfloat16 does not hold). Torch's kernel is given the same codes and group. Nothing is printed for an op that is wrong.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loraplex_kernels import native
from loraplex_kernels.linear import make_weight
from loraplex_kernels.linear.forms import GroupedInts, Lookup
from loraplex_kernels.linear.int4 import Int4Weight
from loraplex_server.bench.limits.machine import Machine, measure

CPU = torch.device("cpu")
SHAPES = {  # K, N
    "Qwen2.5-0.5B qkv": (896, 1152),
    "Qwen2.5-0.5B o": (896, 896),
    "Qwen2.5-0.5B gate/up": (896, 9728),
    "Qwen2.5-0.5B down": (4864, 896),
    "Llama-3.2-1B qkv": (2048, 3072),
    "Llama-3.2-1B o": (2048, 2048),
    "Llama-3.2-1B gate/up": (2048, 16384),
    "Llama-3.2-1B down": (8192, 2048),
}
ROWS = (1, 2, 4, 8, 16, 32, 128)
GROUP = 128
NF4_BLOCK = 64
WORKING_SET = 96 << 20  # bytes of the smallest form; three times the last-level cache of a large desktop core complex
# Of the result's largest element: each way rounds its result to bfloat16, int8 its input too; torch's rounds W.
TOLERANCE = {"bf16": 5e-3, "int8": 3e-2, "int4": 5e-3, "NF4": 5e-3, "torch int4": 2e-2}
MULTIPLIED_AS = {"bf16": "bfloat16", "int8": "int8", "int4": "bfloat16", "NF4": "float32", "torch int4": "bfloat16"}

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Way:
    """One form of a linear, copied until no cache holds it."""

    copies: Sequence[Product]
    nbytes: int  # of one copy
    served: Tensor  # float32 [N, K]


def make_ways(K: int, N: int) -> dict[str, Way]:
    codes = torch.randint(0, 16, (N, K), dtype=torch.uint8)
    scale = (torch.rand(N, K // GROUP) + 0.5).bfloat16() / K
    grouped = GroupedInts(codes, scale, None, GROUP, 4)
    # Normal quantiles stand for NF4's table: speed depends on no value of it.
    table = torch.special.ndtri(torch.linspace(0.03, 0.97, 16))
    looked_up = Lookup(codes, torch.rand(N, K // NF4_BLOCK), table, NF4_BLOCK)
    dense = grouped.dequantized().bfloat16()
    makers = {
        "bf16": lambda: make_weight(dense, "none", torch.bfloat16, CPU),
        "int8": lambda: make_weight(dense, "int8", torch.bfloat16, CPU),
        "int4": lambda: Int4Weight(grouped, torch.bfloat16),
        "NF4": lambda: Int4Weight(looked_up, torch.bfloat16),
    }
    ways = {}
    copies = math.ceil(WORKING_SET / (N * K // 2))
    for name, make in makers.items():
        weights = [make() for _ in range(copies)]
        ways[name] = Way(weights, weights[0].nbytes, weights[0].dequantized())
    ways["torch int4"] = torch_way(grouped, copies)
    return ways


def torch_way(form: GroupedInts, copies: int) -> Way:
    """`torch._weight_int4pack_mm_for_cpu`, whose weight is `(code - 8) scale + zero`."""
    scales = torch.stack((form.scale, torch.zeros_like(form.scale)), dim=-1).transpose(0, 1).contiguous()

    def product() -> Product:
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(form.codes.int(), 1)
        held = scales.clone()
        return lambda x: torch.ops.aten._weight_int4pack_mm_for_cpu(x, packed, form.group, held)

    return Way([product() for _ in range(copies)], form.codes.numel() // 2 + scales.nbytes, form.dequantized())


def check(ways: dict[str, Way], x: Tensor) -> None:
    """Raise unless each way is a product with the weight that it says it serves.

    Raises:
        ArithmeticError: one of them is not.
    """
    for name, way in ways.items():
        expected = x.double() @ way.served.double().t()
        error = float((way.copies[0](x).double() - expected).abs().max() / expected.abs().max())
        if not error < TOLERANCE[name]:
            raise ArithmeticError(f"{name} is off by {error:.1e} of its largest output: no timing of a wrong op")


def seconds_of(ways: dict[str, Way], x: Tensor, budget: float) -> dict[str, float]:
    """Seconds a call of each way, the lower quartile."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    end, turn = time.perf_counter() + budget, 0
    while time.perf_counter() < end or turn < 8:
        for name, way in ways.items():
            for repeat in range(4):  # each way runs warm, on weights that are not
                multiply = way.copies[(turn * 4 + repeat) % len(way.copies)]
                begin = time.perf_counter()
                multiply(x)
                times[name].append(time.perf_counter() - begin)
        turn += 1
    return {name: statistics.quantiles(of_way, n=4)[0] for name, of_way in times.items()}


def bound(name: str, way: Way, rows: int, machine: Machine) -> float:
    """Seconds that a call cannot go below."""
    work = 2 * rows * way.served.numel()
    return max(way.nbytes / machine.best.read_gb_s / 1e9, work / machine.best.tflops[MULTIPLIED_AS[name]] / 1e12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--quick", action="store_true", help="the largest linear of each model only, a shorter time each"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    machine = measure(options.threads, 0.5 if options.quick else 1.0)
    rates = ", ".join(f"{name} {rate:.2f}" for name, rate in machine.best.tflops.items())
    print(f"{native.status()}; {options.threads} threads; reads {machine.best.read_gb_s:.1f} GB/s; T/s: {rates}\n")
    print(f"| linear | rows | {' | '.join(TOLERANCE)} |\n|---|---{'|---' * len(TOLERANCE)}|")
    for shape in [name for name in SHAPES if "gate" in name or not options.quick]:
        K, N = SHAPES[shape]
        ways = make_ways(K, N)
        check(ways, torch.randn(3, K).bfloat16())
        for rows in ROWS:
            x = torch.randn(rows, K).bfloat16()
            times = seconds_of(ways, x, 0.3 if options.quick else 1.0)
            cells = [f"{t * 1e6:.0f} ({bound(n, ways[n], rows, machine) / t:.0%})" for n, t in times.items()]
            print(f"| {shape} | {rows} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

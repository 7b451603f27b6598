"""How near paged attention on the CPU comes to the memory's speed (decode) and to torch's own attention (prefill).

OMP_NUM_THREADS=2 python benchmarks/attention_cpu.py
"""

from __future__ import annotations

import argparse
import itertools

import torch

from loraplex_kernels import native
from loraplex_kernels.attention import Span, allocate, build_batch, bytes_per_block, paged_attention
from loraplex_kernels.attention.sequence import sequence_attention
from loraplex_server.bench.limits.timing import fastest

BLOCK = 16
POOL = 512 << 20  # bytes
CPU = torch.device("cpu")
# name, query heads, kv heads, head_dim
SHAPES = [
    ("Qwen2.5-0.5B", 14, 2, 64),
    ("Llama-3.2-1B", 32, 8, 64),
    ("Llama-3.1-8B", 32, 8, 128),
    ("Gemma-2-2B", 8, 4, 256),
]


def read_bandwidth(budget: float) -> float:
    """Bytes a second that torch's sum reads, of far more than the caches hold."""
    data = torch.ones(1 << 27)
    return data.nbytes / fastest(data.sum, budget)


def decode(shape: tuple[str, int, int, int], sequences: int, context: int, dtype: torch.dtype, budget: float) -> float:
    """Bytes of keys and values a second, each call reading other blocks of a pool that no cache holds."""
    _, heads, kv_heads, head_dim = shape
    blocks = -(-context // BLOCK)
    each = bytes_per_block(1, kv_heads, BLOCK, head_dim, dtype)
    pool = max(POOL // each, sequences * blocks)
    layer = allocate(1, pool, kv_heads, BLOCK, head_dim, dtype, CPU)[0]
    order = torch.randperm(pool)[: pool // (sequences * blocks) * sequences * blocks]
    batches = [
        build_batch([Span(1, context, table) for table in step], BLOCK, CPU)
        for step in order.view(-1, sequences, blocks).tolist()
    ]
    q = torch.randn(sequences, heads, head_dim, dtype=dtype)

    turn = itertools.cycle(batches)
    return (
        sequences
        * context
        * each
        / BLOCK
        / fastest(lambda: paged_attention(q, layer, next(turn), head_dim**-0.5), budget)
    )


def prefill(
    shape: tuple[str, int, int, int], count: int, context: int, dtype: torch.dtype, budget: float
) -> tuple[float, float]:
    """Floating-point operations a second, ours and torch's."""
    _, heads, kv_heads, head_dim = shape
    blocks = -(-context // BLOCK)
    layer = allocate(1, blocks, kv_heads, BLOCK, head_dim, dtype, CPU)[0]
    layer.k.normal_()
    layer.v.normal_()
    batch = build_batch([Span(count, context, torch.randperm(blocks).tolist())], BLOCK, CPU)
    q = torch.randn(count, heads, head_dim, dtype=dtype)
    operations = 4 * heads * head_dim * (count * context - count * (count - 1) // 2)
    ours = fastest(lambda: paged_attention(q, layer, batch, head_dim**-0.5), budget)
    torchs = fastest(lambda: sequence_attention(q, layer, batch, 0, head_dim**-0.5), budget)
    return operations / ours, operations / torchs


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=float, default=0.3, help="seconds for each figure")
    budget = parser.parse_args().budget
    bandwidth = read_bandwidth(budget)
    print(f"{native.status()}; {torch.get_num_threads()} threads; sum() reads {bandwidth / 1e9:.1f} GB/s\n")
    for dtype in (torch.bfloat16, torch.float32):
        for shape in SHAPES:
            cells = []
            for sequences, context in ((1, 1024), (1, 8192), (8, 1024), (32, 200), (32, 1024)):
                rate = decode(shape, sequences, context, dtype, budget)
                cells.append(f"{sequences} x {context}: {rate / 1e9:5.1f} GB/s {rate / bandwidth:4.0%}")
            print(f"decode  {dtype!s:15} {shape[0]:13} " + "  ".join(cells))
    print()
    for dtype in (torch.bfloat16, torch.float32):
        for shape in SHAPES:
            cells = []
            for count, context in ((2, 1024), (8, 1024), (32, 32), (128, 128), (512, 512), (512, 4096)):
                ours, torchs = prefill(shape, count, context, dtype, budget)
                cells.append(f"{count}/{context}: {ours / 1e9:4.0f} ({torchs / 1e9:4.0f})")
            print(f"prefill {dtype!s:15} {shape[0]:13} GFLOP/s, torch's in brackets: " + "  ".join(cells))


if __name__ == "__main__":
    main()

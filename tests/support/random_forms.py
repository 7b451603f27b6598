"""Random quantized weights of every form that the GPU's kernels serve."""

from __future__ import annotations

import torch

from loraplex_kernels.linear.forms import Float8, GroupedInts, Lookup


def ints(N, K, group, bits=4, zero=False, order=False):
    groups = -(-K // group)
    return GroupedInts(
        torch.randint(0, 2**bits, (N, K), dtype=torch.uint8),
        (torch.rand(N, groups) * 0.02 + 0.001).half(),
        torch.randint(0, 2**bits, (N, groups)).float() if zero else None,
        group,
        bits,
        torch.randperm(K) if order else None,
    )


def lookup(N, K, block):
    table = torch.linspace(-1, 1, 16) ** 3 * 0.9
    return Lookup(torch.randint(0, 16, (N, K), dtype=torch.uint8), torch.rand(N, K // block) * 0.05, table, block)


def float8(N, K, rows, columns, input_scale=None):
    values = (torch.randn(N, K) * 50).to(torch.float8_e4m3fn)
    values.view(torch.uint8)[0, :5] = torch.tensor([0x00, 0x80, 0x01, 0x87, 0x7E], dtype=torch.uint8)
    scale = torch.rand(-(-N // rows), -(-K // columns)) * 1e-3
    return Float8(values, scale, rows, columns, input_scale)


CASES = {
    "int4 g128": lambda N, K: ints(N, K, 128),
    "int4 g128 zero": lambda N, K: ints(N, K, 128, zero=True),
    "int4 g64 zero": lambda N, K: ints(N, K, 64, zero=True),
    "int4 g32": lambda N, K: ints(N, K, 32),
    "int4 g32 zero order": lambda N, K: ints(N, K, 32, zero=True, order=True),
    "int4 g256 zero": lambda N, K: ints(N, K, 256, zero=True),
    "int4 whole": lambda N, K: ints(N, K, K, zero=True),
    "int4 whole order": lambda N, K: ints(N, K, K, order=True),
    "int8 whole": lambda N, K: ints(N, K, K, bits=8),
    "int8 g128 zero": lambda N, K: ints(N, K, 128, bits=8, zero=True),
    "int8 g32 zero": lambda N, K: ints(N, K, 32, bits=8, zero=True),
    "lookup": lambda N, K: lookup(N, K, 64 if K % 64 == 0 else K),
    "lookup 128": lambda N, K: lookup(N, K, 128 if K % 128 == 0 else K),
    "float8 rows": lambda N, K: float8(N, K, 1, K),
    "float8 tensor": lambda N, K: float8(N, K, N, K),
    "float8 tiles": lambda N, K: float8(N, K, 128, 128),
}

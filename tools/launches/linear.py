"""Quantized linears: every form of weight for few rows and many, and the rounding of activations."""

from __future__ import annotations

from typing import NamedTuple

import torch

from launches.dtypes import ACTIVATIONS, DTYPES
from launches.family import Family
from launches.recorder import DEVICE
from loraplex_kernels.linear.launches import BUCKETS, MOST_ROWS
from loraplex_kernels.linear.packed_codes import CodeKind, PackedCodes
from loraplex_kernels.linear.planes import WIDTH, chunk_of
from loraplex_kernels.linear.triton_round import round_rows_float8
from loraplex_kernels.linear.triton_weight import TritonWeight

WHOLE = 1 << 30  # of a group: all inputs


class _Form(NamedTuple):
    kind: CodeKind
    bits: int
    group: int
    scale: str  # narrowed: float16 and bfloat16 where that loses nothing
    zero: bool = False
    scale_rows: int = 1


FORMS = {
    "int4 g32": _Form("ints", 4, 32, "fp16"),
    "int4 g32 zero": _Form("ints", 4, 32, "bf16", zero=True),
    "int4 g64": _Form("ints", 4, 64, "fp32"),
    "int4 g64 zero": _Form("ints", 4, 64, "fp16", zero=True),
    "int4 g128": _Form("ints", 4, 128, "bf16"),
    "int4 g128 zero": _Form("ints", 4, 128, "fp16", zero=True),
    "int4 g128 zero fp32": _Form("ints", 4, 128, "fp32", zero=True),
    "int4 rows": _Form("ints", 4, WHOLE, "fp16"),
    "nf4 b32": _Form("lookup", 4, 32, "fp16"),
    "nf4 b64": _Form("lookup", 4, 64, "fp32"),
    "nf4 b128": _Form("lookup", 4, 128, "bf16"),
    "int8 rows": _Form("ints", 8, WHOLE, "fp32"),  # our own
    "int8 g32": _Form("ints", 8, 32, "fp16"),
    "int8 g32 zero": _Form("ints", 8, 32, "bf16", zero=True),
    "int8 g128": _Form("ints", 8, 128, "fp16"),
    "int8 g128 zero": _Form("ints", 8, 128, "fp32", zero=True),
    "float8 rows": _Form("float8", 8, WHOLE, "fp32"),
    "float8 whole": _Form("float8", 8, WHOLE, "fp32", scale_rows=WHOLE),
    "float8 tiles": _Form("float8", 8, 128, "fp32", scale_rows=128),
    "float8 1x32": _Form("float8", 8, 32, "fp32"),
}
# N by K. Sums in 1, 4, 8 or 16 (by the bits), and 5 or 7 parts; chunks that K does not fill; an odd vocabulary.
SHAPES = ((28_672, 4096), (4096, 14_336), (1024, 4096), (2560, 2880), (32_001, 2048))


def _launch(form: str, dtype: str, rows: int, shape: tuple[int, int], bias: bool) -> None:
    (outputs, inputs), (kind, bits, group, scale, zero, scale_rows) = shape, FORMS[form]
    element, groups = DTYPES[dtype], -(-inputs // group)
    packed = PackedCodes(
        kind=kind,
        bits=bits,
        words=torch.empty(-(-inputs // chunk_of(bits)), outputs, WIDTH, dtype=torch.int16, device=DEVICE),
        scale=torch.empty(groups, -(-outputs // scale_rows), dtype=DTYPES[scale], device=DEVICE),
        group=group,
        inputs=inputs,
        scale_rows=scale_rows if scale_rows < outputs else outputs,
        zero=torch.empty(groups, outputs, dtype=torch.uint8, device=DEVICE) if zero else None,
        table=torch.linspace(-1, 1, 16) if kind == "lookup" else None,
    )
    x = torch.empty(rows, inputs, dtype=element, device=DEVICE)
    TritonWeight(packed, element)(x, torch.empty(outputs, dtype=element, device=DEVICE) if bias else None)


LINEAR = Family(
    _launch,
    {
        "form": tuple(FORMS),
        "dtype": ACTIVATIONS,
        "rows": (*BUCKETS, MOST_ROWS + 1),
        "shape": SHAPES,
        "bias": (False, True),
    },
)


def _round(dtype: str, inputs: int, static: bool) -> None:
    round_rows_float8(torch.empty(3, inputs, dtype=DTYPES[dtype], device=DEVICE), 0.5 if static else None)


ROUND = Family(
    _round,
    {"dtype": ("bf16", "fp16"), "inputs": (896, 1536, 2048, 4096, 14_336), "static": (False, True)},
    lambda capability, *_: capability in (89, 90, 100),  # those that multiply them
)

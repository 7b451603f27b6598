"""The forms of the quantized linear's kernel, described for the compile test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from loraplex_kernels.linear.assembly import assembly_of
from loraplex_kernels.linear.launches import launch_of
from loraplex_kernels.variant import Variant

_ALL = (80, 90, 100)
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
# (name, kind, bits, groups of a chunk, zero points, type of the scales)
_FORMS = (
    ("int4 g128", "ints", 4, 1, False, "fp16"),
    ("int4 g128 zero", "ints", 4, 1, True, "fp16"),
    ("int4 g32 zero", "ints", 4, 4, True, "fp16"),
    ("nf4 b64", "lookup", 4, 2, False, "fp32"),
    ("int8", "ints", 8, 1, False, "fp32"),
    ("int8 g32 zero", "ints", 8, 2, True, "bf16"),
    ("float8", "float8", 8, 1, False, "fp32"),
)
_POINTERS = {"part_ptr": "*fp32", "count_ptr": "*i32", "words_ptr": "*i16", "zero_ptr": "*u8", "table_ptr": "*fp32"}
_SIZES = ("M", "N", "K", "chunks", "groups", "span", "scale_rows", "scale_stride", "x_stride")
_DIVISIBLE = ("N", "K", "scale_stride", "x_stride")  # by 16, in every model that is worth a GPU
_TABLE = [step / 8 for step in range(-8, 8)]  # what it holds changes no instruction


def described(kernel: Any) -> Iterator[Variant]:
    """Each form for one row and for many; float16 and float32 differ in their unpacking alone, so one card is enough.

    Args:
        kernel: linear_packed_kernel, a triton.JITFunction.
    """
    for name, kind, bits, parts, zero, scale in _FORMS:
        for dtype, rows in (("bf16", 16), ("bf16", 32), ("bf16", 64), ("fp16", 16), ("fp16", 64), ("fp32", 16)):
            element = _DTYPES[dtype]
            launch = launch_of(rows, 0, 0, element.itemsize)
            assembly = assembly_of(kind, bits, element, _TABLE)
            tensors = {
                **_POINTERS,
                **dict.fromkeys(("y_ptr", "x_ptr", "bias_ptr"), f"*{dtype}"),
                "scale_ptr": f"*{scale}",
            }
            yield Variant(
                name=f"{name} {dtype} m{rows}",
                kernel=kernel,
                signature={**tensors, **dict.fromkeys(_SIZES, "i32")},
                constants={
                    "BLOCK_M": rows,
                    "BLOCK_N": launch.block_n,
                    "SPLITS": 4,
                    "STAGES": launch.stages,
                    "KIND": kind,
                    "BITS": bits,
                    "PARTS": parts,
                    "ZERO": zero,
                    "BIAS": True,
                    "EVEN_K": True,
                    "ASM": assembly.text,
                    "CONSTRAINTS": assembly.constraints,
                    "MAGIC": assembly.magic,
                },
                divisible=(*tensors, *_DIVISIBLE),
                num_warps=launch.warps,
                options={"enable_fp_fusion": True},
                capabilities=_ALL if dtype == "bf16" else (90,),
            )

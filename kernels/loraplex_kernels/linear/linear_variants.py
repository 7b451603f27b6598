"""The forms of the quantized linear's kernel, described for the compile test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from loraplex_kernels.linear.assembly import assembly_of
from loraplex_kernels.linear.launches import launch_of
from loraplex_kernels.linear.packed_codes import CodeKind
from loraplex_kernels.variant import Variant

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class _Form(NamedTuple):
    name: str
    kind: CodeKind
    bits: int
    parts: int  # groups of a chunk
    zero: bool
    scale: str  # Triton's type of the scales


_FORMS = (
    _Form("int4 g128", "ints", 4, 1, False, "fp16"),
    _Form("int4 g128 zero", "ints", 4, 1, True, "fp16"),
    _Form("int4 g32 zero", "ints", 4, 4, True, "fp16"),
    _Form("nf4 b64", "lookup", 4, 2, False, "fp32"),
    _Form("int8", "ints", 8, 1, False, "fp32"),
    _Form("int8 g32 zero", "ints", 8, 2, True, "bf16"),
    _Form("float8", "float8", 8, 1, False, "fp32"),
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
    for form in _FORMS:
        for dtype, rows in (("bf16", 16), ("bf16", 32), ("bf16", 64), ("fp16", 16), ("fp16", 64), ("fp32", 16)):
            cards = (80, 90, 100) if dtype == "bf16" else (90,)
            joining = tuple(card for card in cards if card >= 90 and form.parts == 1)
            others = tuple(card for card in cards if card not in joining)
            if joining:
                yield _variant(kernel, form, dtype, rows, True, joining)
            if others:
                yield _variant(kernel, form, dtype, rows, False, others)


def _variant(kernel: Any, form: _Form, dtype: str, rows: int, joined: bool, capabilities: tuple[int, ...]) -> Variant:
    element = _DTYPES[dtype]
    launch = launch_of(rows, 0, 0, element.itemsize)
    assembly = assembly_of(form.kind, form.bits, element, _TABLE)
    tensors = dict.fromkeys(("y_ptr", "x_ptr", "bias_ptr"), f"*{dtype}")
    tensors |= {**_POINTERS, "scale_ptr": f"*{form.scale}"}
    return Variant(
        name=f"{form.name} {dtype} m{rows}{' joined' if joined else ''}",
        kernel=kernel,
        signature={**tensors, **dict.fromkeys(_SIZES, "i32")},
        constants={
            "BLOCK_M": rows,
            "BLOCK_N": launch.block_n,
            "SPLITS": 4,
            "STAGES": launch.stages,
            "KIND": form.kind,
            "BITS": form.bits,
            "PARTS": form.parts,
            "ZERO": form.zero,
            "BIAS": True,
            "EVEN_K": True,
            "JOINED": joined,
            "ASM": assembly.text,
            "CONSTRAINTS": assembly.constraints,
            "MAGIC": assembly.magic,
        },
        divisible=(*tensors, *_DIVISIBLE),
        num_warps=launch.warps,
        options={"enable_fp_fusion": True},
        capabilities=capabilities,
    )

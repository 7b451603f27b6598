"""The forms of the LoRA kernels, described for the compile test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loraplex_kernels.lora.triton_plan import DECODE_ROWS, SIZES
from loraplex_kernels.variant import Variant

_ALL = (80, 90, 100)
# (rows of a block, dtype, its bytes, int8 weights, where to compile it). float16 becomes the same code as bfloat16 but
# for the name of the type in it, so one card is enough.
COMBINATIONS = [
    (size, dtype, itemsize, int8, (90,) if dtype == "fp16" else _ALL)
    for size in SIZES
    for dtype, itemsize in (("bf16", 2), ("fp16", 2), ("fp32", 4))
    for int8 in (False, True)
    if dtype != "fp16" or size == DECODE_ROWS
]

# Arguments that are no pointers to int32 and no int32.
_TYPES = {
    "v_ptr": "*fp32",
    "weight_ptr": "*fp32",
    "table_scale_ptr": "*fp32",
    "table_a_ptr": "*i64",
    "table_b_ptr": "*i64",
    "table_magnitude_ptr": "*i64",
    "table_factor_ptr": "*i64",
}
_DIVISIBLE = ("K", "R", "x_stride", "y_stride")  # by 16, in every model that is worth a GPU


def described(
    name: str,
    kernel: Any,
    dtype: str,
    constants: Mapping[str, Any],
    warps: int,
    capabilities: tuple[int, ...],
) -> Variant:
    """One form of a kernel whose arguments follow this package's names.

    Args:
        name: of the form.
        kernel: a triton.JITFunction.
        dtype: of x and y, in Triton's spelling.
        constants: all of its constexprs.
        warps: of a program.
        capabilities: to compile it for.
    """
    names = [argument for argument in kernel.arg_names if argument not in constants]
    types = {**_TYPES, "x_ptr": f"*{dtype}", "y_ptr": f"*{dtype}"}
    if constants.get("FUSED"):
        types["v_ptr"] = f"*{dtype}"  # x stands in for it, and is not read
    return Variant(
        name=name,
        kernel=kernel,
        signature={key: types.get(key, "*i32" if key.endswith("_ptr") else "i32") for key in names},
        constants=constants,
        divisible=tuple(key for key in names if key.endswith("_ptr") or key in _DIVISIBLE),
        num_warps=warps,
        options={"enable_fp_fusion": True},
        capabilities=capabilities,
    )

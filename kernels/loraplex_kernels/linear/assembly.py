"""PTX that turns two packed elements into two weights of a plane at a time: what the compiler does not find itself.

An element is 16 bits: four codes of 4 bits or two of 8, one for each plane. A register holds two elements, whose codes
of one plane become one register of two bfloat16 or float16: what a tensor core takes. The way is Marlin's
(arXiv:2408.11743) and, before it, FasterTransformer's (arXiv:2211.10017): a code goes into the mantissa of a float of
known exponent, and a subtraction takes that float's own value away. All results are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Assembly:
    """One inline assembly for `tl.inline_asm_elementwise` with `pack=2`.

    Its outputs are the planes, its inputs the packed elements and, for integers, `-(magic + zero)` for each plane.
    """

    text: str
    constraints: str
    magic: int = 0  # what the floats that hold the codes are too high by


PORTABLE = Assembly("", "")  # for the interpreter and float32: plain arithmetic


def assembly_of(kind: str, bits: int, dtype: torch.dtype, table: Sequence[float] | None) -> Assembly:
    """The fastest way from codes to weights of `dtype`.

    Args:
        kind: "ints", "lookup" or "float8".
        bits: of a code, 4 or 8.
        dtype: of the weights: float16 and bfloat16 have a way, others are `PORTABLE`.
        table: 16 values, for lookup.

    Raises:
        ValueError: there is no such kind.
    """
    if dtype not in (torch.float16, torch.bfloat16):
        return PORTABLE
    planes = 16 // bits
    if kind == "ints":
        lines, magic = _ints4(dtype) if bits == 4 else _ints8(dtype)
        return Assembly(_block(lines), _constraints(planes, planes), magic)
    if kind == "lookup" and table is not None:
        return Assembly(_block(_lookup(dtype, table)), _constraints(planes, 0))
    if kind == "float8":
        return Assembly(_block(_float8(dtype)), _constraints(planes, 0))
    raise ValueError(f"no codes of {bits} bits are {kind!r}")


def _block(lines: Sequence[str]) -> str:
    names = sorted({word.strip(",") for line in lines for word in line.split()[1:] if word[0].isalpha()})
    return "{ .reg .b32 " + ", ".join(names) + "; " + " ".join(f"{line};" for line in lines) + " }"


def _constraints(planes: int, zeros: int) -> str:
    # `&`: outputs are written while inputs are still to be read, so none may be given an input's register.
    return ",".join(["=&r"] * planes + ["r"] * (1 + zeros))


def _kind(dtype: torch.dtype) -> tuple[str, int]:
    """PTX's name of two numbers in a register, and two ones."""
    return ("f16x2", 0x3C003C00) if dtype == torch.float16 else ("bf16x2", 0x3F803F80)


def _ints4(dtype: torch.dtype) -> tuple[list[str], int]:
    """A nibble as the low mantissa bits of 1024 (float16) or 128 (bfloat16), where they count ones."""
    kind, one = _kind(dtype)
    base, magic = (0x64006400, 1024) if dtype == torch.float16 else (0x43004300, 128)
    lines = [f"mov.b32 one, {one:#x}"]
    for plane in range(4):
        source = "$4"
        if plane:
            lines.append(f"shr.u32 t{plane}, $4, {4 * plane}")
            source = f"t{plane}"
        lines.append(f"lop3.b32 t{plane}, {source}, 0x000f000f, {base:#x}, 0xea")  # (a & b) | c
        lines.append(f"fma.rn.{kind} ${plane}, t{plane}, one, ${5 + plane}")  # bfloat16 has no add before sm_90
    return lines, magic


def _ints8(dtype: torch.dtype) -> tuple[list[str], int]:
    """A byte as the low mantissa bits of 1024 in float16; bfloat16 has too few, so of 2 ** 23 in float32."""
    kind, one = _kind(dtype)
    lines = [f"mov.b32 one, {one:#x}"]
    if dtype == torch.float16:
        for plane, selector in enumerate((0x5250, 0x5351)):  # a byte of each element, and 0x64 above it
            lines.append(f"prmt.b32 t{plane}, $2, 0x64646464, {selector:#x}")
            lines.append(f"fma.rn.{kind} ${plane}, t{plane}, one, ${3 + plane}")
        return lines, 1024
    lines.append("mov.b32 base, 0xcb000000")  # -(2 ** 23)
    for plane in range(2):
        for half in range(2):
            lines.append(f"prmt.b32 f{half}, $2, 0x4b000000, {0x7440 + plane + 2 * half:#x}")
            lines.append(f"add.rn.f32 f{half}, f{half}, base")
        lines.append("cvt.rn.bf16x2.f32 f0, f1, f0")  # the first goes into the upper half
        lines.append(f"fma.rn.{kind} ${plane}, f0, one, ${3 + plane}")
    return lines, 0


def _float8(dtype: torch.dtype) -> list[str]:
    """e4m3 moved to where the wider format has its exponent; a product makes up for the other bias, denormals too."""
    kind, _ = _kind(dtype)
    up, down, factor = (7, 1, 0x5C005C00) if dtype == torch.float16 else (4, 4, 0x7B807B80)  # 2 ** 8, 2 ** 120
    return [
        f"mov.b32 factor, {factor:#x}",
        "mov.b32 none, 0x80008000",  # -0, so that the sign of a zero stays
        "and.b32 s0, $2, 0x00800080",
        "shl.b32 s0, s0, 8",
        "and.b32 m0, $2, 0x007f007f",
        f"shl.b32 m0, m0, {up}",
        "or.b32 m0, m0, s0",
        f"fma.rn.{kind} $0, m0, factor, none",
        "and.b32 m1, $2, 0x7f007f00",
        f"shr.u32 m1, m1, {down}",
        "lop3.b32 m1, $2, 0x80008000, m1, 0xea",  # (a & b) | c
        f"fma.rn.{kind} $1, m1, factor, none",
    ]


def _lookup(dtype: torch.dtype, table: Sequence[float]) -> list[str]:
    """Four codes are four selectors of `prmt`, which picks four bytes out of eight: a table of sixteen bytes in three.

    One table of the values' low bytes and one of their high ones; then the bytes are put together.
    """
    values = torch.tensor(list(table), dtype=dtype).view(torch.int16).tolist()
    tables = {"l": [value & 0xFF for value in values], "h": [value >> 8 & 0xFF for value in values]}
    lines = [
        f"mov.b32 {name}{part}, {int.from_bytes(bytes(entries[4 * part : 4 * part + 4]), 'little'):#x}"
        for name, entries in tables.items()
        for part in range(4)
    ]
    lines += [
        "and.b32 low0, $4, 0x77777777",  # the fourth bit of a selector would mean something else
        "shr.u32 low1, low0, 16",
        "shr.u32 up0, $4, 1",
        "lop3.b32 up0, up0, 0x44444444, 0x32103210, 0xea",  # byte i of the table's first half, or of its second
        "shr.u32 up1, up0, 16",
    ]
    for element in range(2):
        for name in "lh":
            lines.append(f"prmt.b32 first, {name}0, {name}1, low{element}")
            lines.append(f"prmt.b32 second, {name}2, {name}3, low{element}")
            lines.append(f"prmt.b32 {name}e{element}, first, second, up{element}")  # this byte of all four planes
        lines.append(f"prmt.b32 a{element}, le{element}, he{element}, 0x5140")  # planes 0 and 1 of the element
        lines.append(f"prmt.b32 b{element}, le{element}, he{element}, 0x7362")  # planes 2 and 3
    lines += [f"prmt.b32 ${2 * i}, {name}0, {name}1, 0x5410" for i, name in enumerate("ab")]
    lines += [f"prmt.b32 ${2 * i + 1}, {name}0, {name}1, 0x7632" for i, name in enumerate("ab")]
    return lines

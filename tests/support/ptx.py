"""The few PTX instructions of assembly.py in numpy, a lane for each element of an array, as in the PTX manual."""

from __future__ import annotations

import re

import numpy as np
import torch


def run(text, inputs, outputs):
    """Run an inline assembly.

    Args:
        text: as `tl.inline_asm_elementwise` takes it, without control flow.
        inputs: uint32 arrays, `$outputs` and up.
        outputs: how many registers come first.

    Returns:
        The outputs, uint32 arrays.
    """
    registers = {f"${outputs + number}": value for number, value in enumerate(inputs)}
    body = re.fullmatch(r"\{ \.reg \.b32 [\w, ]+; (.*) \}", text)[1]
    for statement in filter(None, (part.strip() for part in body.split(";"))):
        name, operands = statement.split(" ", 1)
        target, *sources = operands.split(", ")
        values = [registers[s] if s in registers else np.uint32(int(s, 0)) for s in sources]
        with np.errstate(over="ignore"):
            registers[target] = _OPS[name](*values)
    return [registers[f"${number}"] for number in range(outputs)]


def _prmt(a, b, selector):
    table = a.astype(np.uint64) | (np.uint64(b) if np.isscalar(b) else b.astype(np.uint64)) << np.uint64(32)
    result = np.zeros(np.broadcast_shapes(np.shape(table), np.shape(selector)), dtype=np.uint64)
    for byte in range(4):
        nibble = np.asarray(selector, dtype=np.uint64) >> np.uint64(4 * byte) & np.uint64(15)
        assert not (nibble & np.uint64(8)).any()  # would replicate a sign, which is meant nowhere
        result |= (table >> nibble * np.uint64(8) & np.uint64(255)) << np.uint64(8 * byte)
    return result.astype(np.uint32)


def _lop3(a, b, c, table):
    return sum(
        (a if row & 4 else ~a) & (b if row & 2 else ~b) & (c if row & 1 else ~c) for row in range(8) if table >> row & 1
    )


def halves(register, dtype):
    """uint32 `[L]` to `[L, 2]` of a 16-bit float, the lower half first."""
    return torch.from_numpy(register.copy()).view(torch.int16).view(dtype).reshape(-1, 2)


def _joined(pair):
    return pair.contiguous().view(torch.int16).numpy().view(np.uint32).reshape(-1)


def _fma(dtype):
    def fma(a, b, c):
        shape = np.broadcast_shapes(a.shape, np.shape(b), np.shape(c))
        a, b, c = (halves(np.broadcast_to(value, shape), dtype).double() for value in (a, b, c))
        return _joined((a * b + c).to(dtype))  # double holds the product and the sum exactly here

    return fma


def _convert(high, low):
    pair = torch.stack([torch.from_numpy(low.view(np.float32)), torch.from_numpy(high.view(np.float32))], dim=1)
    return _joined(pair.to(torch.bfloat16))


_OPS = {
    "mov.b32": lambda a: a,
    "and.b32": lambda a, b: a & b,
    "or.b32": lambda a, b: a | b,
    "shl.b32": lambda a, b: a << b,
    "shr.u32": lambda a, b: a >> b,
    "lop3.b32": _lop3,
    "prmt.b32": _prmt,
    "add.rn.f32": lambda a, b: (a.view(np.float32) + b.view(np.float32)).view(np.uint32),
    "cvt.rn.bf16x2.f32": _convert,
    "fma.rn.f16x2": _fma(torch.float16),
    "fma.rn.bf16x2": _fma(torch.bfloat16),
}

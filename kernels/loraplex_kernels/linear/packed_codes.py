"""A weight of packed codes with scales: what the Triton kernels of the quantized linears read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from loraplex_kernels.linear.planes import WIDTH, chunk_of, unpack

# What a code is: an integer less its zero point, an index into a table, the bits of an e4m3 float.
CodeKind = Literal["ints", "lookup", "float8"]


@dataclass(frozen=True)
class PackedCodes:
    """Semantics: `W[n, k] = scale[k // group, n // scale_rows] * value(code[n, k])`.

    `value` is `code - zero[k // group, n]` for integers, `table[code]` for lookup, the e4m3 number for float8.
    Scales lie with their outputs side by side, as the kernels read them.
    """

    kind: CodeKind
    bits: int  # of a code: 4 or 8
    words: Tensor  # int16 [chunks, N, 32], planes.py
    scale: Tensor  # float16, bfloat16 or float32 [groups, ceil(N / scale_rows)]
    group: int  # inputs of one scale: 32, 64, a multiple of a chunk, or K and more
    inputs: int  # K
    scale_rows: int = 1  # outputs of one scale
    zero: Tensor | None = None  # uint8 [groups, N], for integers; None: 2 ** (bits - 1)
    table: Tensor | None = None  # float32 [16], for lookup

    @property
    def outputs(self) -> int:
        """N."""
        return self.words.shape[1]

    @property
    def groups(self) -> int:
        """Scales along K."""
        return self.scale.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales, zero points and table."""
        return sum(part.nbytes for part in (self.words, self.scale, self.zero, self.table) if part is not None)

    def part(self, first: int, last: int) -> PackedCodes:
        """The outputs from `first` to before `last`, for `dequantized`: no kernel reads views."""
        scale = self.scale if self.scale_rows == 1 else self.scale.repeat_interleave(self.scale_rows, dim=1)
        return replace(
            self,
            words=self.words[:, first:last],
            scale=scale[:, first:last],
            scale_rows=1,
            zero=None if self.zero is None else self.zero[:, first:last],
        )

    def dequantized(self) -> Tensor:
        """float32 `[N, K]`, from the packed bits."""
        codes = unpack(self.words, self.bits, self.inputs)
        if self.kind == "ints":
            values = codes.to(torch.float32)
            values -= 2 ** (self.bits - 1) if self.zero is None else self._by_input(self.zero)
        elif self.table is not None:
            values = self.table[codes.long()]
        else:
            values = codes.view(torch.float8_e4m3fn).to(torch.float32)
        scale = self.scale.repeat_interleave(self.scale_rows, dim=1)[:, : self.outputs]
        return values.mul_(self._by_input(scale))

    def _by_input(self, part: Tensor) -> Tensor:
        """`[groups, N]` to float32 `[N, K]`."""
        return part.t().to(torch.float32).repeat_interleave(self.group, dim=1)[:, : self.inputs]


def servable_group(group: int, bits: int, inputs: int) -> bool:
    """Whether the kernels apply scales of so many inputs: whole planes of a chunk, or whole chunks, or all of K."""
    chunk = chunk_of(bits)
    return group >= inputs or group % chunk == 0 or (chunk % group == 0 and group % WIDTH == 0)


def narrowed(scale: Tensor) -> Tensor:
    """The scale in 16 bits where that loses nothing, as with most checkpoints; else float32."""
    for dtype in (torch.float16, torch.bfloat16):
        if scale.dtype == dtype or torch.equal(scale.to(dtype).to(torch.float32), scale.to(torch.float32)):
            return scale.to(dtype)
    return scale.to(torch.float32)

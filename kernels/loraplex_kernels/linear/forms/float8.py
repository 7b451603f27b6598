"""Eight-bit floats with a scale for each row, or for each tile of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from loraplex_kernels.linear.forms.parted import parted


@dataclass(frozen=True)
class Float8:
    """Semantics: `W[n, k] = values[n, k] * scale[n // rows, k // columns]`.

    Raises:
        ValueError: shapes or dtypes do not belong together.
    """

    values: Tensor  # float8_e4m3fn [N, K]
    scale: Tensor  # float32 [ceil(N / rows), ceil(K / columns)]
    rows: int  # outputs of one scale: 1 for a scale each
    columns: int  # inputs of one scale: K for all of them
    input_scale: float | None = (
        None  # of the activations, where the checkpoint has measured it; else by row, as they come
    )

    def __post_init__(self) -> None:
        """Check that the parts belong together."""
        outputs, inputs = self.values.shape
        expected = (-(-outputs // self.rows), -(-inputs // self.columns))
        if self.scale.shape != expected or self.values.dtype != torch.float8_e4m3fn:
            raise ValueError(
                f"{self.values.dtype} {[outputs, inputs]} in tiles of {self.rows} x {self.columns} needs e4m3 and "
                f"scales {list(expected)}, not {list(self.scale.shape)}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """See `WeightForm`."""
        outputs, inputs = self.values.shape
        return outputs, inputs

    def dequantized(self) -> Tensor:
        """See `WeightForm`."""
        outputs, inputs = self.values.shape
        scale = self.scale.to(torch.float32).repeat_interleave(self.rows, dim=0)[:outputs]
        return self.values.to(torch.float32) * scale.repeat_interleave(self.columns, dim=1)[:, :inputs]

    def slice(self, first: int, last: int) -> Float8:
        """See `WeightForm`. Tiles that it would cut become scales of rows."""
        tiles = slice(first // self.rows, -(-last // self.rows))
        if first % self.rows == 0:
            return replace(self, values=self.values[first:last], scale=self.scale[tiles])
        skipped = first % self.rows
        by_row = self.scale[tiles].repeat_interleave(self.rows, dim=0)[skipped : skipped + last - first]
        return replace(self, values=self.values[first:last], scale=by_row, rows=1)

    def narrow(self, first: int, last: int) -> Float8:
        """See `WeightForm`. Tiles that it would cut become narrower ones of the same scales."""
        columns, left = parted(self.columns, first, last)
        return replace(self, values=self.values[:, first:last].contiguous(), scale=left(self.scale), columns=columns)

    @classmethod
    def stack(cls, parts: Sequence[Float8]) -> Float8:
        """See `WeightForm`. Scales of whole tensors become scales of rows."""
        first = parts[0]
        if any(part.columns != first.columns or part.input_scale != first.input_scale for part in parts):
            raise ValueError("linears with other tiles or another scale of their input cannot be stacked")
        values = torch.cat([part.values.view(torch.uint8) for part in parts]).view(torch.float8_e4m3fn)
        if all(part.rows == first.rows and part.shape[0] % part.rows == 0 for part in parts):
            return cls(values, torch.cat([p.scale for p in parts]), first.rows, first.columns, first.input_scale)
        by_row = [part.scale.repeat_interleave(part.rows, dim=0)[: part.shape[0]] for part in parts]
        return cls(values, torch.cat(by_row), 1, first.columns, first.input_scale)

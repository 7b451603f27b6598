"""A quantized weight as it is stored, unpacked for each product: any form on any device, where nothing faster runs."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from loraplex_kernels.linear import nibbles
from loraplex_kernels.linear.check import check_linear
from loraplex_kernels.linear.forms import GroupedInts, Lookup, WeightForm, tensors, with_tensors

# Elements that are unpacked at a time, so that the floating-point copy stays small beside the weight.
_BLOCK = 1 << 22


class StoredWeight:
    """A weight of few bits; four-bit codes lie two a byte.

    Semantics: `y = x W^T + bias`, W being `form.dequantized()` rounded to x's dtype. Activations are not rounded,
    whatever the form says of them: that would buy speed, of which there is none here.

    Args:
        form: of the weight; not kept where its codes have four bits.
        dtype: of the activations.
        device: where it runs.
    """

    def __init__(self, form: WeightForm, dtype: torch.dtype, device: torch.device) -> None:
        self.out_features, self.in_features = form.shape
        self.dtype = dtype
        form = with_tensors(form, lambda tensor: tensor.to(device).contiguous())
        halved = isinstance(form, Lookup) or (isinstance(form, GroupedInts) and form.bits == 4)
        self._rows: _Halved | _Whole = _Halved(form) if halved else _Whole(form)
        self._block = max(1, _BLOCK // self.in_features)

    @property
    def nbytes(self) -> int:
        """Bytes of the codes, scales and whatever else the form has."""
        return self._rows.nbytes

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `BaseWeight`.

        Raises:
            ValueError: x or the bias is not of the dtype and width that the weight was made for.
        """
        check_linear(x, bias, self.dtype, self.in_features, self.out_features)
        y = x.new_empty(x.shape[0], self.out_features)
        for first in range(0, self.out_features, self._block):
            last = min(first + self._block, self.out_features)
            weight = self._rows.slice(first, last).dequantized().to(x.dtype)
            y[:, first:last] = F.linear(x, weight, None if bias is None else bias[first:last])
        return y

    def dequantized(self) -> Tensor:
        """See `BaseWeight`."""
        return self.dequantized_part(0, self.out_features)

    def dequantized_part(self, first: int, last: int) -> Tensor:
        """See `SlicedWeight`."""
        return self._rows.slice(first, last).dequantized()


class _Whole:
    """A form whose elements take a byte each."""

    def __init__(self, form: WeightForm) -> None:
        self._form = form
        self.nbytes = sum(tensor.nbytes for tensor in tensors(form).values())

    def slice(self, first: int, last: int) -> WeightForm:
        return self._form.slice(first, last)


class _Halved:
    """A form of four-bit codes, two a byte."""

    def __init__(self, form: WeightForm) -> None:
        self._kind: Any = type(form)
        self._inputs = form.shape[1]
        values = {field.name: getattr(form, field.name) for field in fields(form)}
        self._packed = nibbles.pack(values.pop("codes"))
        self._rest = values
        rest = [value for value in self._rest.values() if isinstance(value, Tensor)]
        self.nbytes = self._packed.nbytes + sum(value.nbytes for value in rest)

    def slice(self, first: int, last: int) -> WeightForm:
        # What has two dimensions has a row an output; tables and orders belong to all of them.
        rest = {
            name: value[first:last] if isinstance(value, Tensor) and value.dim() == 2 else value
            for name, value in self._rest.items()
        }
        form: WeightForm = self._kind(codes=nibbles.unpack(self._packed[first:last], self._inputs), **rest)
        return form

"""Integers of 4 or 8 bits in groups, on a GPU: GPTQ, AWQ, compressed-tensors, our own."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import GroupedInts, WeightForm
from loraplex_kernels.linear.packed_codes import PackedCodes, narrowed, servable_group
from loraplex_kernels.linear.planes import pack
from loraplex_kernels.linear.triton_weight import DTYPES, TritonWeight, runs_on

# Zero points whose distance to every code is exact in bfloat16, and which fit a byte.
_HIGHEST_ZERO = {4: 127, 8: 255}


class TritonGroupedWeight(TritonWeight):
    """`GroupedInts` (W4A16, W8A16).

    With an order, x's columns are permuted once a call and the codes stay sorted, so groups stay whole.

    Args:
        form: `supported`; its codes are packed anew and not kept.
        dtype: of the activations.
        device: where it runs.

    Raises:
        ValueError: the form, dtype or device is not supported.
    """

    def __init__(self, form: GroupedInts, dtype: torch.dtype, device: torch.device) -> None:
        if not self.supported(form, dtype, device):
            raise ValueError(
                f"no Triton kernel for {form.bits} bits in groups of {form.group} by {dtype} on {device}: groups are "
                "32, 64 or a multiple of 128 (of 64 for 8 bits), zero points whole numbers"
            )
        order = form.order
        self._order = None if order is None else order.to(device=device, dtype=torch.int32)
        zero = None if form.zero is None else form.zero.to(device=device, dtype=torch.uint8).t().contiguous()
        packed = PackedCodes(
            kind="ints",
            bits=form.bits,
            words=pack(form.codes.to(device), form.bits),
            scale=narrowed(form.scale.to(device)).t().contiguous(),
            group=form.group,
            inputs=form.shape[1],
            zero=zero,
        )
        super().__init__(packed, dtype)

    @classmethod
    def supported(cls, form: WeightForm, dtype: torch.dtype, device: torch.device) -> bool:
        """Whether this class serves the form exactly."""
        if not isinstance(form, GroupedInts) or dtype not in DTYPES or not runs_on(device):
            return False
        return servable_group(form.group, form.bits, form.shape[1]) and _whole(form)

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales, zero points, order and counters."""
        return super().nbytes + (0 if self._order is None else self._order.nbytes)

    def dequantized_part(self, first: int, last: int) -> Tensor:
        """See `SlicedWeight`."""
        values = super().dequantized_part(first, last)
        return values if self._order is None else torch.empty_like(values).index_copy_(1, self._order.long(), values)

    def _ordered(self, x: Tensor) -> Tensor:
        return super()._ordered(x) if self._order is None else x.index_select(1, self._order)


def _whole(form: GroupedInts) -> bool:
    """Whether every zero point is a whole number that the kernel subtracts exactly."""
    if form.zero is None:
        return True
    whole = (form.zero == form.zero.round()) & (form.zero >= 0) & (form.zero <= _HIGHEST_ZERO[form.bits])
    return bool(whole.all())

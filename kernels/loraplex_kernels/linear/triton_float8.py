"""e4m3 weights on a GPU with activations as they are: cards without eight-bit products, and scales by tiles."""

from __future__ import annotations

import torch

from loraplex_kernels.linear.forms import Float8, WeightForm
from loraplex_kernels.linear.packed_codes import PackedCodes, servable_group
from loraplex_kernels.linear.planes import pack
from loraplex_kernels.linear.triton_weight import DTYPES, TritonWeight, runs_on

_NAN = 0x7F  # with either sign


class TritonFloat8Weight(TritonWeight):
    """`Float8`, weights only (W8A16): what `input_scale` says of activations is not needed, as they are not rounded.

    Args:
        form: `supported`; its values are packed anew and not kept.
        dtype: of the activations.
        device: where it runs.

    Raises:
        ValueError: the form, dtype or device is not supported, or a weight is not a number.
    """

    def __init__(self, form: Float8, dtype: torch.dtype, device: torch.device) -> None:
        if not self.supported(form, dtype, device):
            raise ValueError(
                f"no Triton kernel for e4m3 in tiles of {form.columns} inputs by {dtype} on {device}: tiles are 32 or "
                "a multiple of 64 wide"
            )
        codes = form.values.to(device).view(torch.uint8)
        if bool((codes & _NAN == _NAN).any()):
            raise ValueError("the weight has elements that are not numbers")
        packed = PackedCodes(
            kind="float8",
            bits=8,
            words=pack(codes, 8),
            scale=form.scale.to(device=device, dtype=torch.float32).t().contiguous(),
            group=form.columns,
            inputs=form.shape[1],
            scale_rows=form.rows,
        )
        super().__init__(packed, dtype)

    @classmethod
    def supported(cls, form: WeightForm, dtype: torch.dtype, device: torch.device) -> bool:
        """Whether this class serves the form."""
        if not isinstance(form, Float8) or dtype not in DTYPES or not runs_on(device):
            return False
        return servable_group(form.columns, 8, form.shape[1])

"""NF4 and FP4 on a GPU: four bits that index a table, scaled by blocks."""

from __future__ import annotations

import torch

from loraplex_kernels.linear.forms import Lookup, WeightForm
from loraplex_kernels.linear.packed_codes import PackedCodes, narrowed, servable_group
from loraplex_kernels.linear.planes import pack
from loraplex_kernels.linear.triton_weight import DTYPES, TritonWeight, runs_on


class TritonLookupWeight(TritonWeight):
    """`Lookup` (QLoRA's base).

    The packed kernel has the table in x's dtype and multiplies by absmax after the sum, in float32; bitsandbytes rounds
    each weight to x's dtype instead. Both are off by half a unit in the last place of that dtype at most.

    Args:
        form: `supported`; its codes are packed anew and not kept.
        dtype: of the activations.
        device: where it runs.

    Raises:
        ValueError: the form, dtype or device is not supported.
    """

    def __init__(self, form: Lookup, dtype: torch.dtype, device: torch.device) -> None:
        if not self.supported(form, dtype, device):
            raise ValueError(
                f"no Triton kernel for lookup in blocks of {form.block} by {dtype} on {device}: blocks are 32, 64 or a "
                "multiple of 128"
            )
        packed = PackedCodes(
            kind="lookup",
            bits=4,
            words=pack(form.codes.to(device), 4),
            scale=narrowed(form.absmax.to(device)).t().contiguous(),
            group=form.block,
            inputs=form.shape[1],
            table=form.table.to(device=device, dtype=torch.float32),
        )
        super().__init__(packed, dtype)

    @classmethod
    def supported(cls, form: WeightForm, dtype: torch.dtype, device: torch.device) -> bool:
        """Whether this class serves the form."""
        if not isinstance(form, Lookup) or dtype not in DTYPES or not runs_on(device):
            return False
        return servable_group(form.block, 4, form.shape[1])

"""GPTQ's zero points, which its first layout stores less one."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_server.models.quantized.packing import WORD, unpacked


def zero_points(packed: Tensor, bits: int, *, first_version: bool, meta: str) -> Tensor:
    """Unpack them as they are meant.

    In the first layout a zero point of 0 is stored as -1, which does not fit its field. GPTQModel lets it borrow from
    the next field of the word and takes that back when it adds the one to the word (gptqmodel/utils/model.py);
    AutoGPTQ overwrites the fields above (qlinear_cuda.py), and what they were is lost. In the word's last field both
    come to the same.

    Args:
        packed: int32 `[groups, N * bits / 32]`.
        bits: of a zero point.
        first_version: they are stored less one.
        meta: which program wrote them, as its config says; may be empty.

    Returns:
        uint8 `[groups, N]`.

    Raises:
        ValueError: they are damaged, or may be.
    """
    if not first_version:
        return unpacked(packed, bits)
    fields = WORD // bits
    stored = unpacked(packed, bits).view(packed.shape[0], -1, fields)
    if "gptqmodel" not in meta.lower() and bool((stored[:, :, :-1] == (1 << bits) - 1).any()):
        raise ValueError(
            "zero points of 0 in the first GPTQ layout, which AutoGPTQ could not store without damage to their "
            "neighbours; save it as gptq_v2, or quantize it anew with GPTQModel"
        )
    one_each = sum(1 << (bits * field) for field in range(fields))
    return unpacked(packed + torch.tensor(one_each, dtype=torch.int32), bits)

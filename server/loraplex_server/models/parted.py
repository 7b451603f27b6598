"""A checkpoint's weight cut to a rank's part of it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from loraplex_adapters.shard import SitePart
from loraplex_kernels.linear.forms import WeightForm, with_tensors
from loraplex_server.models.errors import UnsupportedModelError

WHOLE = SitePart()


def pieces(tensor: Tensor, part: SitePart) -> Iterator[Tensor]:
    """Views of a weight `[N, K]` or bias `[N]` that are the part, one below the other."""
    if part.inputs is not None and tensor.dim() > 1:
        tensor = tensor[:, slice(*part.inputs)]
    if part.outputs is None:
        yield tensor
    else:
        yield from (tensor[first:last] for first, last in part.outputs)


def parted_form(form: WeightForm, part: SitePart, module: str) -> WeightForm:
    """The part of a quantized weight, in memory of its own.

    Raises:
        UnsupportedModelError: the form cannot be cut there.
    """
    if part == WHOLE:
        return form
    try:
        if part.inputs is not None:
            form = form.narrow(*part.inputs)
        if part.outputs is not None:
            parts = [form.slice(first, last) for first, last in part.outputs]
            form = type(form).stack(parts) if len(parts) > 1 else parts[0]
    except ValueError as error:
        raise UnsupportedModelError(f"--tensor-parallel-size: {module} cannot be divided: {error}") from error
    return with_tensors(form, torch.Tensor.clone)  # else the whole would stay in memory

"""Tables in an adapter's file that are the base's own: PEFT saves them beside the adapter."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor

from loraplex_adapters.fingerprint import TENSOR_FILE
from loraplex_adapters.tensor_file import TensorSpec, read_pieces, scratch_bytes


class SameWeights:
    """Compares tensors of one file with the base's, piece by piece, without keeping them.

    Args:
        folder: that holds the file.
    """

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, TENSOR_FILE)

    def __call__(self, spec: TensorSpec, ours: Callable[[], Tensor]) -> bool:
        """Whether a tensor is equal to the base's, but for the rounding of one of them to a narrower dtype.

        Raises:
            AdapterError: the file changed meanwhile.
            OSError: it cannot be read.
        """
        held = ours()
        if held.shape != spec.shape:
            return False
        held = held.reshape(-1)
        scratch = torch.empty(scratch_bytes(1), dtype=torch.uint8)
        with open(self._path, "rb", buffering=0) as file:
            return all(
                _same(piece, held[first : first + piece.numel()].cpu())
                for first, piece in read_pieces(file, spec, 1, scratch)
            )


def _same(file: Tensor, ours: Tensor) -> bool:
    return _rounds_to(file, ours.float()) or _rounds_to(ours, file.float())


def _rounds_to(wide: Tensor, narrow: Tensor) -> bool:
    return any(torch.equal(wide.to(dtype).float(), narrow) for dtype in (torch.float32, torch.bfloat16, torch.float16))

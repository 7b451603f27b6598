"""A tensor that a format calls for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.errors import CheckpointError

FLOATS = (torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True)
class Expected:
    """The shapes and dtypes that it may have; the first shape is the usual one."""

    dtypes: tuple[torch.dtype, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def scalar(cls, *dtypes: torch.dtype) -> Expected:
        """One number, written as any shape that holds one."""
        return cls(dtypes, ((1,), (), (1, 1)))

    def shape_in(self, checkpoint: Checkpoint, name: str) -> tuple[int, ...]:
        """The shape to ask for: what the checkpoint has, where that is allowed."""
        found = tuple(checkpoint.tensor(name).shape) if name in checkpoint else None
        return found if found in self.shapes else self.shapes[0]

    def take(self, checkpoint: Checkpoint, name: str) -> Tensor:
        """The tensor, a view into the mapped file.

        Raises:
            CheckpointError: there is none, or it is another one.
        """
        if name not in checkpoint:
            raise CheckpointError(f"checkpoint {checkpoint.folder} lacks {name}")
        tensor = checkpoint.tensor(name)
        if tuple(tensor.shape) not in self.shapes or tensor.dtype not in self.dtypes:
            dtypes = " or ".join(str(dtype).removeprefix("torch.") for dtype in self.dtypes)
            raise CheckpointError(
                f"checkpoint {checkpoint.folder} has {name} as {str(tensor.dtype).removeprefix('torch.')} "
                f"{list(tensor.shape)}, not {dtypes} {list(self.shapes[0])}"
            )
        return tensor

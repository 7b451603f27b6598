"""What a quantized checkpoint can tell of one linear, and what all formats do alike to tell it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import WeightForm
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.errors import CheckpointError
from loraplex_server.models.names import HEAD
from loraplex_server.models.quantized.expected import FLOATS, Expected
from loraplex_server.models.quantized.kv_cache import calibration


class WeightReader(Protocol):
    """One checkpoint in one format."""

    @property
    def name(self) -> str:
        """The format, for logs."""

    def tensors(self, module: str, shape: tuple[int, int]) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of the tensors that stand for `module.weight` `[N, K]`; none where it is not quantized.

        Raises:
            CheckpointError: the format cannot hold a weight of this shape.
        """

    def unused(self, module: str) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of what lies beside `module`, quantized or not, and is known but not used."""

    def read(self, module: str, shape: tuple[int, int]) -> WeightForm:
        """The weight of a module that has such tensors, in memory of its own.

        Raises:
            CheckpointError: a tensor is missing, of another shape or dtype, or holds what the format cannot mean.
        """


class FormatReader(ABC):
    """A format: which tensors it has for a linear, and what they mean.

    Args:
        name: for logs.
        checkpoint: open as long as the reader is used.
        kv_cache: the checkpoint may hold scales of a KV cache too, which are known and not used.
    """

    def __init__(self, name: str, checkpoint: Checkpoint, kv_cache: bool = False) -> None:
        self.name = name
        self.checkpoint = checkpoint
        self._kv_cache = kv_cache

    @abstractmethod
    def expected(self, module: str, shape: tuple[int, int]) -> Mapping[str, Expected]:
        """The tensors by what follows `module.` in their names; none where the module is not quantized."""

    @abstractmethod
    def form(self, module: str, shape: tuple[int, int], tensors: Mapping[str, Tensor]) -> WeightForm:
        """What the expected tensors, which are as they should be, stand for.

        Raises:
            ValueError: their contents have no meaning in this format.
        """

    def tensors(self, module: str, shape: tuple[int, int]) -> dict[str, tuple[int, ...]]:
        """See `WeightReader`."""
        expected = self.expected(module, shape)
        return {
            f"{module}.{suffix}": each.shape_in(self.checkpoint, f"{module}.{suffix}")
            for suffix, each in expected.items()
        }

    def unused(self, module: str) -> dict[str, tuple[int, ...]]:
        """See `WeightReader`."""
        return calibration(self.checkpoint, module) if self._kv_cache else {}

    def read(self, module: str, shape: tuple[int, int]) -> WeightForm:
        """See `WeightReader`."""
        expected = self.expected(module, shape)
        found = {suffix: each.take(self.checkpoint, f"{module}.{suffix}") for suffix, each in expected.items()}
        try:
            return self.form(module, shape, found)
        except ValueError as error:
            raise CheckpointError(f"{self.checkpoint.folder}, {self.name}, {module}: {error}") from error

    def is_plain(self, module: str) -> bool:
        """Whether the checkpoint has the weight in floating point, as if nothing had been quantized.

        Asked where the format's own tensors are missing. A head without any is the embedding, or is missed as one.
        """
        name = f"{module}.weight"
        if name not in self.checkpoint:
            return module == HEAD
        return self.checkpoint.tensor(name).dtype in (*FLOATS, torch.float64)

    def refuse_shape(self, module: str, shape: tuple[int, int], reason: str) -> CheckpointError:
        """The error for a weight whose shape the format does not have."""
        return CheckpointError(f"{self.checkpoint.folder}: {self.name} cannot hold {module} {list(shape)}: {reason}")

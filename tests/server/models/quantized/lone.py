"""A checkpoint of one linear, to be looked at from close by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from loraplex_kernels.linear.forms import WeightForm
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.quantized.choose import weight_reader

MODULE = "model.layers.0.self_attn.q_proj"


class Lone:
    """One linear, `q_proj` of the first layer.

    Args:
        folder: an empty one.
        quantization: the config's `quantization_config`.
        tensors: by what follows the module's name.
        shape: of the weight.
        module: its name.
    """

    def __init__(
        self,
        folder: Path,
        quantization: Mapping[str, Any] | None,
        tensors: Mapping[str, Tensor],
        shape: tuple[int, int],
        module: str = MODULE,
    ) -> None:
        self.folder, self.shape, self.module = folder, shape, module
        self.config = {} if quantization is None else {"quantization_config": dict(quantization)}
        named = {f"{module}.{suffix}": tensor.contiguous() for suffix, tensor in tensors.items()}
        save_file(named, folder / "model.safetensors")

    def read(self) -> WeightForm:
        with Checkpoint(self.folder) as checkpoint:
            reader = weight_reader(self.config, checkpoint)
            assert reader is not None
            return reader.read(self.module, self.shape)

    def tensors(self, module: str | None = None) -> dict[str, tuple[int, ...]]:
        with Checkpoint(self.folder) as checkpoint:
            reader = weight_reader(self.config, checkpoint)
            assert reader is not None
            return dict(reader.tensors(module or self.module, self.shape))

    def unused(self) -> dict[str, tuple[int, ...]]:
        with Checkpoint(self.folder) as checkpoint:
            reader = weight_reader(self.config, checkpoint)
            assert reader is not None
            return dict(reader.unused(self.module))

    @property
    def name(self) -> str:
        with Checkpoint(self.folder) as checkpoint:
            reader = weight_reader(self.config, checkpoint)
            assert reader is not None
            return reader.name

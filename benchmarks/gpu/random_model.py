"""A model of a known shape with random weights, made where it runs: nothing is read and nothing is downloaded."""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from synthetic.shapes import SHAPES
from torch import Tensor

from loraplex_adapters.shard import SitePart
from loraplex_kernels.linear import Quantization
from loraplex_server.models.blueprint import blueprint
from loraplex_server.models.build import build
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.decoder import Decoder
from loraplex_server.models.describe import describe
from loraplex_server.models.linear_weights import LinearWeights, Target
from loraplex_server.models.parted import WHOLE, pieces


class RandomCheckpoint(Checkpoint):
    """Tensors that come into being when they are asked for, the same each time.

    Args:
        shapes: of the tensors, by name.
        device: where they are made.
        dtype: that they are made in.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(Path("random"))
        self._shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self._device = device
        self._dtype = dtype

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def holds(self, module: str) -> bool:
        return any(name.startswith(f"{module}.") for name in self._shapes)

    def check(
        self,
        required: Mapping[str, Sequence[int]],
        optional: Collection[str] = (),
        quantized: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        """They were made for the same blueprint; only names that it does not have could differ."""
        if required.keys() - self._shapes.keys() - set(optional):
            raise ValueError("the blueprint asks for tensors that it did not name")

    def tensor(self, name: str) -> Tensor:
        """Scaled so that activations keep their size: norms are 1, weights have the variance 1 / in."""
        shape = self._shapes[name]
        if len(shape) == 1:
            return torch.full(shape, 0.0 if name.endswith(".bias") else 1.0, device=self._device, dtype=self._dtype)
        generator = torch.Generator(self._device).manual_seed(zlib.crc32(name.encode()))
        tensor = torch.empty(shape, device=self._device, dtype=self._dtype)
        return tensor.normal_(0, shape[-1] ** -0.5, generator=generator)

    def stack(self, names: Sequence[str], dtype: torch.dtype, cuts: Sequence[SitePart] = ()) -> Tensor:
        cuts = cuts or (WHOLE,) * len(names)
        parts = [piece for name, cut in zip(names, cuts, strict=True) for piece in pieces(self.tensor(name), cut)]
        return torch.cat(parts).to(dtype)


def shape_config(shape: str, max_model_len: int) -> DecoderConfig:
    """The config of one of make_model.py's shapes."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(SHAPES[shape]), encoding="utf-8")
        return describe(Path(folder), max_model_len)


@torch.inference_mode()
def random_model(
    shape: str, form: Quantization, device: torch.device, dtype: torch.dtype, max_model_len: int
) -> Decoder:
    """Its linears rounded to `form`, one at a time."""
    config = shape_config(shape, max_model_len)
    checkpoint = RandomCheckpoint(blueprint(config).tensors(), device, dtype)
    weights = LinearWeights(checkpoint, Target(device, dtype, form), None, None)
    return build(config, weights, lambda: None)

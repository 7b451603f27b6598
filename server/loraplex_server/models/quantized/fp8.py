"""`quant_method: fp8`: DeepSeek's tiles as transformers writes them, and AutoFP8's one scale a tensor."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import Float8
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.errors import CheckpointError
from loraplex_server.models.quantized.expected import FLOATS, Expected
from loraplex_server.models.quantized.kv_cache import brings_scales
from loraplex_server.models.quantized.reader import FormatReader
from loraplex_server.models.quantized.settings import Settings
from loraplex_server.models.quantized.tiles import tiled

# AutoFP8's names, and those of transformers (integrations/finegrained_fp8.py). Despite its name, the latter's scale
# is multiplied too.
_SCALES = ("weight_scale_inv", "weight_scale")
_INPUT_SCALES = ("activation_scale", "input_scale")


class Fp8Reader(FormatReader):
    """Semantics: `W[n, k] = weight[n, k] * weight_scale_inv[n // rows, k // columns]`.

    Whether a module is quantized is told by its tensors: a weight that is not e4m3 is what it seems.

    Raises:
        UnsupportedModelError: the activations' scheme is not known.
        CheckpointError: the config is damaged.
    """

    def __init__(self, settings: Settings, checkpoint: Checkpoint) -> None:
        scheme = str(settings.get("activation_scheme", default="dynamic")).lower()
        if scheme not in ("dynamic", "static"):
            raise settings.unsupported(f"fp8 with activation_scheme {scheme!r}", "quantize it with dynamic or static")
        self._static = scheme == "static"
        self._tile = _tile(settings)
        exponents = (torch.uint8,) if settings.get("scale_fmt") == "ue8m0" else ()
        self._scale_dtypes = (*FLOATS, torch.float8_e8m0fnu, *exponents)
        tile = "one scale a tensor" if self._tile is None else "tiles of {} x {}".format(*self._tile)
        super().__init__(f"fp8, {tile}, {scheme} activations", checkpoint, brings_scales(settings.values))

    def _named(self, module: str, names: tuple[str, ...]) -> str:
        """The name that the checkpoint has, else the first."""
        return next((name for name in names if f"{module}.{name}" in self.checkpoint), names[0])

    def expected(self, module: str, shape: tuple[int, int]) -> dict[str, Expected]:
        """See `FormatReader`."""
        scale = self._named(module, _SCALES)
        if f"{module}.{scale}" not in self.checkpoint and self.is_plain(module):
            return {}
        expected = {"weight": Expected((torch.float8_e4m3fn,), (shape,))}
        if self._tile is None:
            expected[scale] = Expected.scalar(*FLOATS)
        else:
            grid = tuple(-(-size // step) for size, step in zip(shape, self._tile, strict=True))
            expected[scale] = Expected(self._scale_dtypes, (grid,))
        if self._static:
            expected[self._named(module, _INPUT_SCALES)] = Expected.scalar(*FLOATS)
        return expected

    def form(self, module: str, shape: tuple[int, int], tensors: Mapping[str, Tensor]) -> Float8:
        """See `FormatReader`."""
        scale = tensors[self._named(module, _SCALES)]
        input_scale = tensors[self._named(module, _INPUT_SCALES)] if self._static else None
        return tiled(tensors["weight"], scale, self._tile, input_scale)


def _tile(settings: Settings) -> tuple[int, int] | None:
    size = settings.get("weight_block_size")
    if size is None:
        return None
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(each, int) and each > 0 for each in size):
        raise CheckpointError(f"weight_block_size in {settings.source} must be two sizes, not {size!r}")
    return size[0], size[1]

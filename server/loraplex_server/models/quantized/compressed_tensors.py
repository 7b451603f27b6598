"""compressed-tensors as llm-compressor writes it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import GroupedInts, WeightForm
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.errors import CheckpointError
from loraplex_server.models.names import HEAD
from loraplex_server.models.quantized.ct_match import best, check_patterns, matches
from loraplex_server.models.quantized.ct_scheme import Scheme, read_scheme, refuse_extras
from loraplex_server.models.quantized.expected import FLOATS, Expected
from loraplex_server.models.quantized.input_order import input_order
from loraplex_server.models.quantized.kv_cache import brings_scales
from loraplex_server.models.quantized.packing import WORD, unpacked
from loraplex_server.models.quantized.reader import FormatReader
from loraplex_server.models.quantized.settings import Settings
from loraplex_server.models.quantized.signed import unsigned
from loraplex_server.models.quantized.tiles import tiled

_STATUSES = ("compressed", "frozen")  # frozen ones hold the same tensors where the format says so


class CompressedTensorsReader(FormatReader):
    """Semantics: `W[n, k] = (weight[n, k] - zero_point[n, g]) * scale[n, g]`, g being the tile, group or channel.

    Integers packed in words have their middle added first; zero points are packed along the outputs
    (compressed_tensors/compressors/pack_quantized). Which modules are quantized is told by the config's targets and
    ignore list.

    Raises:
        UnsupportedModelError: a format, strategy, sparsity or transform that is not served.
        CheckpointError: the config is damaged.
    """

    def __init__(self, settings: Settings, checkpoint: Checkpoint) -> None:
        refuse_extras(settings.values, settings)
        status = str(settings.get("quantization_status", default="compressed"))
        if status not in _STATUSES:
            raise settings.unsupported(f"quantization_status {status}", "save it compressed")
        groups = settings.get("config_groups", default={})
        ignore = settings.get("ignore", default=[])
        if not isinstance(groups, dict) or not isinstance(ignore, list):
            raise CheckpointError(f"config_groups or ignore in {settings.source} is of another kind")
        default_format = str(settings.get("format", default="dense"))
        self._ignore = [str(pattern) for pattern in ignore]
        self._schemes: dict[str, Scheme] = {}  # by target
        for group in groups.values():
            scheme = read_scheme(group, default_format, settings)
            targets = group.get("targets", [])
            if not isinstance(targets, list):
                raise CheckpointError(f"targets in {settings.source} must be a list, not {targets!r}")
            self._schemes.update(dict.fromkeys(map(str, targets), scheme))
        check_patterns([*self._ignore, *self._schemes], settings)
        names = sorted({scheme.name for scheme in self._schemes.values()})
        super().__init__(
            f"compressed-tensors {' and '.join(names) or 'without weights'}", checkpoint, brings_scales(settings.values)
        )

    def _scheme(self, module: str) -> Scheme | None:
        target = best(module, self._schemes)
        if target is None or matches(module, self._ignore):
            return None
        if module == HEAD and f"{HEAD}.weight_scale" not in self.checkpoint:
            return None  # a target "Linear" is not meant for a head that is the embedding
        return self._schemes[target]

    def expected(self, module: str, shape: tuple[int, int]) -> dict[str, Expected]:
        """See `FormatReader`."""
        scheme = self._scheme(module)
        if scheme is None:
            return {}
        outputs, inputs = shape
        rows, columns = scheme.tile(shape)
        groups = -(-inputs // columns)
        if scheme.strategy == "group" and inputs % columns:
            raise self.refuse_shape(module, shape, f"the inputs are no multiple of the group of {columns}")
        grid = (-(-outputs // rows), groups)
        one = scheme.strategy == "tensor"
        expected = self._values(scheme, shape)
        expected["weight_scale"] = Expected.scalar(*FLOATS) if one else _column(grid, *FLOATS)
        if not scheme.symmetric:
            if scheme.packed and not one:
                words = (-(-outputs * scheme.bits // WORD), groups)
                expected["weight_zero_point"] = Expected((torch.int32,), (words,))
            else:
                expected["weight_zero_point"] = Expected.scalar(torch.int8) if one else _column(grid, torch.int8)
        if scheme.by_group_order:
            expected["weight_g_idx"] = Expected((torch.int32, torch.int64), ((inputs,),))
        return expected | self._measured(scheme)

    def _values(self, scheme: Scheme, shape: tuple[int, int]) -> dict[str, Expected]:
        """Of the weight itself."""
        outputs, inputs = shape
        if not scheme.packed:
            return {"weight": Expected((torch.float8_e4m3fn if scheme.floats else torch.int8,), (shape,))}
        return {
            "weight_packed": Expected((torch.int32,), ((outputs, -(-inputs * scheme.bits // WORD)),)),
            "weight_shape": Expected((torch.int32, torch.int64), ((2,),)),
        }

    def _measured(self, scheme: Scheme) -> dict[str, Expected]:
        """Of the activations."""
        expected = {"input_scale": Expected.scalar(*FLOATS)} if scheme.static_input else {}
        if scheme.static_input_zero:
            expected["input_zero_point"] = Expected.scalar(torch.int8, torch.float8_e4m3fn)
        return expected

    def form(self, module: str, shape: tuple[int, int], tensors: Mapping[str, Tensor]) -> WeightForm:
        """See `FormatReader`."""
        scheme = self._schemes[best(module, self._schemes) or ""]
        if scheme.floats:
            input_scale = tensors.get("input_scale")
            return tiled(tensors["weight"], tensors["weight_scale"], scheme.tile(shape), input_scale)
        if scheme.packed:
            if tuple(tensors["weight_shape"].tolist()) != shape:
                raise ValueError(f"weight_shape is {tensors['weight_shape'].tolist()}, not {list(shape)}")
            codes = unpacked(tensors["weight_packed"], scheme.bits)[:, : shape[1]]
        else:
            codes = unsigned(tensors["weight"], scheme.bits)
        group = scheme.tile(shape)[1]
        order = input_order(tensors["weight_g_idx"], group) if scheme.by_group_order else None
        scale = _spread(tensors["weight_scale"], shape[0])
        zero = None if scheme.symmetric else _zero(tensors["weight_zero_point"], scheme, shape[0]).to(scale.dtype)
        return GroupedInts(codes if order is None else codes[:, order], scale, zero, group, scheme.bits, order)


def _column(grid: tuple[int, ...], *dtypes: torch.dtype) -> Expected:
    """A grid of one column is also written without it."""
    return Expected(dtypes, (grid, grid[:1]) if grid[1] == 1 else (grid,))


def _spread(values: Tensor, outputs: int) -> Tensor:
    """`[N, groups]`, also of the only number or of a column without its second dimension."""
    grid = values.reshape(-1, 1) if values.dim() < 2 else values
    return grid.expand(outputs, -1).clone()


def _zero(stored: Tensor, scheme: Scheme, outputs: int) -> Tensor:
    """uint8 `[N, groups]`, moved as the codes are."""
    if stored.dtype == torch.int32:
        return unpacked(stored.t(), scheme.bits)[:, :outputs].t().contiguous()
    return unsigned(_spread(stored, outputs), scheme.bits)

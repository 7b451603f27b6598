"""One of compressed-tensors' config groups: how the weights of its targets are stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loraplex_server.models.errors import CheckpointError
from loraplex_server.models.quantized.settings import Settings

# What is stored for a format: words of packed integers, or one number an element.
PACKED = "pack-quantized"
_PLAIN = ("int-quantized", "float-quantized", "naive-quantized")
_STRATEGIES = ("tensor", "channel", "group", "block")


@dataclass(frozen=True)
class Scheme:
    """Weights alone: what the activations are rounded to is no part of them."""

    packed: bool
    floats: bool
    bits: int
    symmetric: bool
    strategy: str
    group: int  # of strategy group
    block: tuple[int, int]  # of strategy block
    by_group_order: bool  # the inputs' groups are in a tensor of their own
    static_input: bool  # the scale of the activations was measured
    static_input_zero: bool

    @property
    def name(self) -> str:
        """For logs."""
        size = {"group": f" {self.group}", "block": " {} x {}".format(*self.block)}.get(self.strategy, "")
        kind = "fp" if self.floats else "int"
        return f"{kind}{self.bits} {self.strategy}{size}{'' if self.symmetric else ' asymmetric'}"

    def tile(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of one scale of a weight of this shape."""
        tiles = {"tensor": shape, "channel": (1, shape[1]), "group": (1, self.group), "block": self.block}
        return tiles[self.strategy]


def read_scheme(group: Any, default_format: str, settings: Settings) -> Scheme:
    """Parse and check a config group.

    Args:
        group: its JSON.
        default_format: of the whole checkpoint, where the group names none.
        settings: that it is from, for messages.

    Raises:
        UnsupportedModelError: it asks for something that is not served.
        CheckpointError: it is damaged.
    """
    if not isinstance(group, dict):
        raise settings.unsupported("a config group that is but a preset's name", "save it with a newer llm-compressor")
    stored, weights = str(group.get("format") or default_format), group.get("weights")
    if stored != PACKED and stored not in _PLAIN:
        raise settings.unsupported(
            f"the compressed-tensors format {stored}", f"save it as {PACKED} or {' or '.join(_PLAIN)}"
        )
    if not isinstance(weights, dict):
        raise settings.unsupported("a config group without weights", "quantize weights, or leave the group out")
    if group.get("output_activations"):
        raise settings.unsupported("rounding of a linear's outputs", "quantize it without output_activations")
    args = Settings(settings.method, settings.source, weights)
    activations = group.get("input_activations")
    static = isinstance(activations, dict) and not activations.get("dynamic", False)
    scheme = Scheme(
        packed=stored == PACKED,
        floats=str(args.get("type", default="int")).lower() == "float",
        bits=args.integer("num_bits", default=8),
        symmetric=args.flag("symmetric", True),
        strategy=_strategy(args),
        group=args.integer("group_size", default=-1),
        block=_block(args),
        by_group_order=str(args.get("actorder", default="")).lower() in ("group", "dynamic", "true"),
        static_input=static,
        static_input_zero=isinstance(activations, dict) and static and not activations.get("symmetric", True),
    )
    _check(scheme, settings)
    return scheme


def _strategy(args: Settings) -> str:
    group = args.integer("group_size", default=0)
    inferred = "tensor" if group == 0 else "group" if group > 0 else "channel"
    strategy = str(args.get("strategy", default=inferred)).lower()
    if strategy not in _STRATEGIES:
        raise args.unsupported(
            f"compressed-tensors with strategy {strategy}", f"quantize it with {', '.join(_STRATEGIES)}"
        )
    if strategy == "group" and group < 1:
        raise CheckpointError(f"group_size in {args.source} must be above 0 for strategy group, not {group}")
    return strategy


def _block(args: Settings) -> tuple[int, int]:
    value = args.get("block_structure", default=[1, 1])
    if isinstance(value, str) and (found := re.fullmatch(r"(\d+)x(\d+)", value)):  # as it once was written
        value = [int(size) for size in found.groups()]
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(each, int) and each > 0 for each in value):
        raise CheckpointError(f"block_structure in {args.source} must be two sizes, not {value!r}")
    return value[0], value[1]


def _check(scheme: Scheme, settings: Settings) -> None:
    """Refuse what no form has.

    Raises:
        UnsupportedModelError: says what.
    """
    problem = None
    if scheme.bits not in ((8,) if scheme.floats else (4, 8)):
        problem = f"{'floats' if scheme.floats else 'integers'} of {scheme.bits} bits"
    elif scheme.floats and (scheme.packed or not scheme.symmetric or scheme.by_group_order):
        problem = "floats that are packed, asymmetric or in an order of their own"
    elif not scheme.floats and scheme.strategy == "block":
        problem = "integers by blocks"
    elif scheme.by_group_order and scheme.strategy != "group":
        problem = f"actorder with strategy {scheme.strategy}"
    if problem is not None:
        raise settings.unsupported(
            f"compressed-tensors with {problem}", "quantize it to integers of 4 or 8 bits or to floats of 8 bits"
        )


def refuse_extras(values: Mapping[str, Any], settings: Settings) -> None:
    """Raise UnsupportedModelError for sparsity and rotations, which change what the tensors mean."""
    sparsity = values.get("sparsity_config") or {}
    if isinstance(sparsity, dict) and sparsity.get("format", "dense") != "dense":
        raise settings.unsupported(f"sparsity stored as {sparsity['format']}", "save it without sparse compression")
    transforms = values.get("transform_config") or {}
    if isinstance(transforms, dict) and transforms.get("config_groups"):
        raise settings.unsupported("transform_config", "quantize it without rotations of weights or activations")

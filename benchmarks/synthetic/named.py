"""A shape by its name."""

from __future__ import annotations

from pathlib import Path

from loraplex_server.bench.limits.model import ModelShape, model_shape, shape_of_config
from synthetic.shapes import SHAPES


def named_shape(name: str) -> ModelShape:
    """One of make_model.py's shapes, or that of a checkpoint's folder.

    Raises:
        ValueError: it is neither, or its config lacks a size.
    """
    if name in SHAPES:
        return shape_of_config(name, SHAPES[name])
    if not Path(name).exists():
        raise ValueError(f"{name!r} is no folder with a config.json, and none of the shapes {', '.join(SHAPES)}")
    return model_shape(name)

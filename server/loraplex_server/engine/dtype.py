"""The number format of activations, by torch's name for it. Plain Python: a plan chooses it without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from loraplex_server.engine.config import DType

Format = Literal["float32", "bfloat16", "float16"]


def checkpoint_dtype(config: Mapping[str, Any]) -> Format:
    """What a checkpoint's config says its weights are; float32 where it says nothing.

    Args:
        config: the JSON object in config.json.
    """
    name = config.get("dtype") or config.get("torch_dtype")
    return "bfloat16" if name == "bfloat16" else "float16" if name == "float16" else "float32"


def choose_dtype(asked: DType, checkpoint: Format, device: str, *, native: bool) -> Format:
    """`auto` is the checkpoint's own format where the device computes it natively, else the nearest that it does.

    A CPU without bfloat16 instructions emulates them at a fraction of float32's speed, and no CPU here has float16's.

    Args:
        asked: the setting.
        checkpoint: format of its weights.
        device: cpu or cuda.
        native: whether that CPU has instructions for bfloat16; the kernels run on no GPU without.
    """
    if asked != "auto":
        return asked
    if device == "cuda":
        return "bfloat16" if checkpoint == "float32" else checkpoint
    return "bfloat16" if native and checkpoint != "float32" else "float32"

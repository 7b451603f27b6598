"""Scales for attention in eight bits, most often of its KV cache, which some checkpoints bring beside their weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from loraplex_server.models.checkpoint import Checkpoint

logger = logging.getLogger(__name__)

# Where the tools put them: AutoFP8, compressed-tensors before and after its attention hooks, ModelOpt.
_BESIDE = ("{kind}_scale", "{kind}_zero_point", "kv_scale", "attn.{kind}_scale")
_INSIDE = ("output_scale", "output_zero_point", "{kind}_scale")
_KINDS = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "qkv_proj": "qkv"}


def brings_scales(settings: Mapping[str, Any]) -> bool:
    """Whether the config speaks of the KV cache. It is said in the log that the scales are not used.

    They are not needed: the cache holds keys and values as the model's own numbers, or by a setting of this server,
    either way at least as exact as what the scales were measured for.
    """
    scheme = settings.get("kv_cache_scheme")
    if scheme is None:
        return False
    logger.warning("the checkpoint's kv_cache_scheme is not applied: keys and values are not rounded by its scales")
    return True


def calibration(checkpoint: Checkpoint, module: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the scales that lie beside a linear that makes queries, keys or values."""
    parent, _, last = module.rpartition(".")
    names = [
        f"{place}.{pattern.format(kind=kind)}"
        for kind in _KINDS.get(last, "")
        for place, patterns in ((parent, _BESIDE), (module, _INSIDE))
        for pattern in patterns
    ]
    return {name: tuple(checkpoint.tensor(name).shape) for name in names if name in checkpoint}

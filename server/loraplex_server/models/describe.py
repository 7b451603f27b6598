"""From a checkpoint's config.json to a DecoderConfig, or to a refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.errors import CheckpointError, UnsupportedModelError
from loraplex_server.models.families import FAMILIES, Family


def describe(folder: Path, max_model_len: int | None = None) -> DecoderConfig:
    """Read the config alone.

    Args:
        folder: with a config.json.
        max_model_len: the longest sequence to serve; None for the longest that the model was made for.

    Raises:
        CheckpointError: config.json is missing, is not a JSON object, or has a value that transformers refuses.
        UnsupportedModelError: the architecture, or something that the config asks of it, is not supported.
        ValueError: `max_model_len` is not between 1 and what the model was made for.
    """
    raw = read_config(folder)
    family = _family(raw)
    try:
        # The class in transformers itself, never code from the checkpoint, whatever its auto_map says.
        hf = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (StrictDataclassError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"transformers cannot make sense of {folder / 'config.json'}: {error}") from error
    return family.describe(hf, max_model_len)


def read_config(folder: Path) -> dict[str, Any]:
    """The JSON object in a checkpoint's config.json.

    Raises:
        CheckpointError: there is none.
    """
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder} holds no config.json") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} is not a JSON object")
    return raw


def _family(raw: dict[str, Any]) -> Family:
    architectures = raw.get("architectures") or []
    if len(architectures) != 1 or architectures[0] not in FAMILIES:
        named = ", ".join(map(str, architectures)) or "none named"
        raise UnsupportedModelError(f"architecture {named} is not supported; supported: {', '.join(sorted(FAMILIES))}")
    family = FAMILIES[architectures[0]]
    if raw.get("model_type") != family.model_type:
        raise UnsupportedModelError(
            f"{family.architecture} with model_type {raw.get('model_type')!r} is not supported; "
            f"supported: {family.model_type!r}"
        )
    return family

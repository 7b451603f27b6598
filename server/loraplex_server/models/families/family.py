"""A family: a transformers architecture that the decoder can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loraplex_server.models.config import DecoderConfig

# Takes transformers' config and the longest sequence to serve (None: the model's own); raises UnsupportedModelError.
Describe = Callable[[Any, "int | None"], DecoderConfig]


@dataclass(frozen=True)
class Family:
    """Args: architecture: transformers' class name. model_type: of its config. describe: from its config to ours."""

    architecture: str
    model_type: str
    describe: Describe

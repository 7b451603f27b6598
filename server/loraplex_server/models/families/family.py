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
    """Args: architecture: transformers' class name, as in config.json. describe: from its config to ours."""

    architecture: str
    describe: Describe

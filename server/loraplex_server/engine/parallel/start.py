"""The other ranks of an engine, started; a model that cannot be divided is refused before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.parallel.lead import Lead
from loraplex_server.engine.parallel.nobody import NO_OTHERS, NoOthers
from loraplex_server.models.describe import describe
from loraplex_server.models.division import Division
from loraplex_server.models.folder import model_folder


def start_others(config: EngineConfig, gone: Callable[[str], None], folder: Path | None) -> Lead | NoOthers:
    """The followers, which load while rank 0 does; nobody where the model is whole.

    Args:
        config: of the engine.
        gone: see `Lead`.
        folder: see `Lead`.

    Raises:
        ModelError: the model cannot be divided among so many, or is not supported.
        ValueError: a setting is out of the model's range.
    """
    size = config.tensor_parallel_size
    if size == 1:
        return NO_OTHERS
    Division(describe(model_folder(config.model, weights=False), config.max_model_len), 0, size)
    return Lead(config, gone, folder)

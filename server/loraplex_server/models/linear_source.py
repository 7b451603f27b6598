"""A checkpoint that can be opened again, for what is seldom needed of it once the model is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loraplex_kernels.linear.rounders import ROUNDERS
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.errors import CheckpointError
from loraplex_server.models.linear_weights import LinearWeights, Target
from loraplex_server.models.quantized.choose import weight_reader
from loraplex_server.models.rounded_cache import RoundedCache


class LinearSource:
    """Args: folder: of the checkpoint. target: what its weights become. raw: its config.json. cache: folder that keeps
    rounded weights; None: none are kept.
    """

    def __init__(self, folder: Path, target: Target, raw: Mapping[str, Any], cache: Path | None) -> None:
        self._folder = folder
        self._target = target
        self._raw = dict(raw)
        self._cache = cache
        self._fingerprint: str | None = None  # of the files, once they were opened

    @contextmanager
    def open(self) -> Iterator[LinearWeights]:
        """The weights, while it is open.

        Raises:
            CheckpointError: the files cannot be read, or are others than the first time.
        """
        with Checkpoint(self._folder) as checkpoint:
            if self._fingerprint not in (None, checkpoint.fingerprint):
                raise CheckpointError(f"checkpoint {self._folder} has changed since the model was loaded from it")
            self._fingerprint = checkpoint.fingerprint
            form, kept = self._target.quantization, None
            if self._cache is not None and form in ROUNDERS:
                kept = RoundedCache(self._cache, checkpoint, form)
            yield LinearWeights(checkpoint, self._target, weight_reader(self._raw, checkpoint), kept)

"""An adapter whose files were checked against the model."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from loraplex_adapters.base import BaseShape
from loraplex_adapters.binding import BoundSite, bind
from loraplex_adapters.errors import AdapterError, AdapterRefusedError
from loraplex_adapters.fingerprint import CONFIG_FILE, fingerprint
from loraplex_adapters.peft_config import LONGEST, parse_config
from loraplex_adapters.source import AdapterSource
from loraplex_adapters.tensor_file import TensorHeader, read_header
from loraplex_kernels.lora import AdapterLayout, plan


@dataclass(frozen=True)
class Package:
    """An adapter that fits the model; none of its weights were read yet."""

    source: AdapterSource
    fingerprint: str  # of the files as they were checked
    config: bytes
    header: TensorHeader
    bound: tuple[BoundSite, ...]
    layout: AdapterLayout
    dtype: torch.dtype  # of A and B in memory

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self.layout.nbytes

    def unchanged(self) -> bool:
        """The files are still those that were checked."""
        return fingerprint(self.source.path) == self.fingerprint

    def require_unchanged(self) -> None:
        """Raises AdapterError where the files are not those that were checked any more."""
        _require_unchanged(self.source, self.fingerprint)


def inspect(source: AdapterSource, base: BaseShape, dtype: torch.dtype) -> Package:
    """Check an adapter's config and the header of its tensor file against the model.

    Args:
        source: the folder.
        base: what there is to bind to.
        dtype: of A and B in memory.

    Raises:
        AdapterRefusedError: with every reason why it cannot be served exactly.
        AdapterError: it is being changed at this moment.
        OSError: a file cannot be read.
    """
    seen = fingerprint(source.path)
    try:
        config = _read_config(source)
        parsed = parse_config(source.name, config)
        header = read_header(source.name, source.path)
        bound = bind(source.name, header.tensors, parsed, base.sites)
    except AdapterRefusedError:
        _require_unchanged(source, seen)  # what is wrong with it may be that it is only half written
        raise
    _require_unchanged(source, seen)  # so the config and the tensors belong together
    return Package(source, seen, config, header, bound, plan((site.shape for site in bound), dtype.itemsize), dtype)


def _read_config(source: AdapterSource) -> bytes:
    path = os.path.join(source.path, CONFIG_FILE)
    if not os.path.exists(path):
        raise AdapterRefusedError(source.name, [f"there is no {CONFIG_FILE}"])
    if not os.path.isfile(path):  # opening a pipe waits for a writer, with the loader's thread
        raise AdapterRefusedError(source.name, [f"{CONFIG_FILE} is no regular file"])
    with open(path, "rb") as file:
        return file.read(LONGEST + 1)


def _require_unchanged(source: AdapterSource, seen: str) -> None:
    if fingerprint(source.path) != seen:
        raise AdapterError(f"adapter '{source.name}' was replaced while it was being read; send the request again")

"""An adapter whose files were checked against the model."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from loraplex_adapters.base import BaseShape, BaseWeights
from loraplex_adapters.cutting import Cutting
from loraplex_adapters.errors import AdapterChangedError, AdapterRefusedError
from loraplex_adapters.fingerprint import CONFIG_FILE, fingerprint
from loraplex_adapters.methods import method_of
from loraplex_adapters.peft_config import LONGEST, read_values
from loraplex_adapters.recipe import Candidate, Recipe
from loraplex_adapters.same_weights import SameWeights
from loraplex_adapters.shard import Shard
from loraplex_adapters.source import AdapterSource
from loraplex_adapters.tensor_file import TensorHeader, read_header
from loraplex_kernels.lora import AdapterLayout, plan


@dataclass(frozen=True)
class Package:
    """An adapter that fits the model; none of its weights were read yet, but perhaps compared with the base's."""

    source: AdapterSource
    fingerprint: str  # of the files as they were checked
    config: bytes
    header: TensorHeader
    recipe: Recipe
    dtype: torch.dtype  # of A and B in memory, unless they are int8
    int8: bool = False
    shard: Shard | None = None  # what of it is kept; None: all

    @cached_property
    def layout(self) -> AdapterLayout:
        """Where everything lies when it was read."""
        terms = (term.nbytes for term in self.recipe.terms)
        return plan(self.recipe.sites, self.dtype.itemsize, terms, int8=self.int8)

    @cached_property
    def cutting(self) -> Cutting | None:
        """How it is cut to what is kept; None: it is kept as it was read."""
        return None if self.shard is None else Cutting(self.recipe, self.shard)

    @cached_property
    def kept(self) -> AdapterLayout:
        """Where everything lies that is kept."""
        if self.cutting is None:
            return self.layout
        terms = (term.nbytes for term in self.cutting.terms)
        return plan(self.cutting.sites, self.dtype.itemsize, terms, int8=self.int8)

    @property
    def nbytes(self) -> int:
        """What it takes in memory, at most: `settle` may find that it takes less."""
        return self.kept.nbytes

    def unchanged(self) -> bool:
        """The files are still those that were checked."""
        return fingerprint(self.source.path) == self.fingerprint

    def require_unchanged(self) -> None:
        """Raises AdapterChangedError where the files are not those that were checked any more."""
        _require_unchanged(self.source, self.fingerprint)

    def settle(self, base: BaseWeights) -> Package:
        """Without the tables of the file that say what the base has: they need no room. For a loader thread.

        Raises:
            AdapterError: the files changed since they were inspected.
            OSError: they cannot be read.
        """
        if self.recipe.settle is None:
            return self
        found = self.recipe.settle(SameWeights(self.source.path), base)
        self.require_unchanged()
        return replace(self, recipe=found)


def inspect(
    source: AdapterSource,
    base: BaseShape,
    dtype: torch.dtype,
    weights: BaseWeights | None = None,
    *,
    int8: bool = False,
    shard: Shard | None = None,
) -> Package:
    """Check an adapter's config and the header of its tensor file against the model.

    Args:
        source: the folder.
        base: what there is to bind to.
        dtype: of A and B in memory, and of the terms that are weights.
        weights: the base's, if the size is to be known to the byte: PEFT may save tables that are the base's own.
        int8: A and B are rounded to int8 instead; the terms are not.
        shard: what of it is kept; None: all of it.

    Raises:
        AdapterRefusedError: with every reason why it cannot be served exactly.
        AdapterError: it is being changed at this moment.
        OSError: a file cannot be read.
    """
    seen = fingerprint(source.path)
    try:
        config = _read_config(source)
        values = read_values(source.name, config)
        method = method_of(source.name, values)
        header = read_header(source.name, source.path)
        recipe = method(Candidate(source.name, values, header.tensors, base, dtype))
    except AdapterRefusedError:
        _require_unchanged(source, seen)  # what is wrong with it may be that it is only half written
        raise
    _require_unchanged(source, seen)  # so the config and the tensors belong together
    package = Package(source, seen, config, header, recipe, dtype, int8, shard)
    if package.cutting is not None and (reasons := list(package.cutting.reasons(base.sites))):
        raise AdapterRefusedError(source.name, reasons)
    return package if weights is None else package.settle(weights)


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
        raise AdapterChangedError(
            f"adapter '{source.name}' was replaced while it was being read; send the request again"
        )

"""The weights of a whole model for adapters that need them, where this process holds a part of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from loraplex_adapters.base import BaseShape
from loraplex_server.models.decoder import Decoder
from loraplex_server.models.linear_weights import LinearWeights
from loraplex_server.models.names import HEAD
from loraplex_server.models.tables import EMBEDDING_WEIGHT, HEAD_WEIGHT

# Opens the checkpoint again, and raises CheckpointError where it is not the one that the model was loaded from.
Open = Callable[[], AbstractContextManager[LinearWeights]]


class WholeWeights:
    """See `loraplex_adapters.base.BaseWeights`: read from the checkpoint once more, one weight at a time, and rounded.

    DoRA divides by the norms of whole rows, of which a rank may have some of the columns. So each adapter that needs
    the base's weights costs one more reading of those.

    Args:
        model: this rank's part, which has all of the norms.
        open_: the checkpoint.
    """

    def __init__(self, model: Decoder, open_: Open) -> None:
        self._model = model
        self._open = open_

    @property
    def shape(self) -> BaseShape:
        """Of the whole model."""
        return self._model.shape

    @torch.inference_mode()
    def site_weight(self, index: int) -> Tensor:
        """`[out, in]` of a site, as it is served."""
        site = self.shape.sites[index]
        shape = site.out_features, site.in_features
        with self._open() as weights:
            if site.name != HEAD or weights.is_quantized(site.name, shape):
                return weights.dequantized(site.name, shape)
            return weights.table(EMBEDDING_WEIGHT if self.shape.tied else HEAD_WEIGHT).dequantized()

    def site_bias(self, index: int) -> Tensor | None:
        """`[out]` of a site; None where it has none."""
        if index not in self.shape.biased:
            return None
        with self._open() as weights:
            return weights.floats(f"{self.shape.sites[index].name}.bias")

    def norm_weight(self, name: str) -> Tensor:
        """`[width]` of a norm."""
        return self._model.norm_weight(name)

    @torch.inference_mode()
    def embedding_rows(self, first: int, last: int) -> Tensor:
        """`[last - first, H]` of the embedding's table as it is served, without its scale."""
        with self._open() as weights:
            if not self.shape.tied:
                return weights.floats(EMBEDDING_WEIGHT)[first:last]
            rows = torch.arange(first, last, device=weights.target.device)
            return weights.table(EMBEDDING_WEIGHT).rows(rows)

    def original(self, name: str) -> Tensor:
        """`[vocab, H]` of the embedding's or the output layer's table, as the checkpoint has it."""
        return self._model.original(name)

"""The base model as an adapter sees it: what there is to bind to, and the weights where a method needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from loraplex_adapters.site import Site

if TYPE_CHECKING:
    from torch import Tensor  # who plans memory has the shapes without torch


@dataclass(frozen=True)
class EmbeddingShape:
    """The table of token vectors.

    Args:
        name: module path, such as `model.embed_tokens`.
        rows: the vocabulary.
        width: H.
        scale: what every vector is multiplied by after the look-up; 1 but for Gemma.
    """

    name: str
    rows: int
    width: int
    scale: float = 1.0


@dataclass(frozen=True)
class BaseShape:
    """Every module that an adapter may touch.

    Args:
        sites: all linears, in the order of the adapter table's columns; `lm_head` is the last.
        biased: indices of the sites that have a bias.
        norms: module path -> width; those over single heads (Qwen3, Gemma 3) among them.
        embedding: of the tokens.
        tied: `lm_head` is the embedding's table.
        num_layers: decoder layers.
        num_heads: of queries.
        num_kv_heads: of keys and values.
        head_dim: of each.
    """

    sites: tuple[Site, ...]
    biased: frozenset[int]
    norms: Mapping[str, int]
    embedding: EmbeddingShape
    tied: bool
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int

    @cached_property
    def head(self) -> Site:
        """The output layer."""
        return self.sites[-1]

    @cached_property
    def site_by_name(self) -> Mapping[str, Site]:
        """All sites by their module path."""
        return {site.name: site for site in self.sites}


class BaseWeights(Protocol):
    """The base model's weights as they are served. Asked on a loader thread."""

    @property
    def shape(self) -> BaseShape:
        """What there is."""
        ...

    def site_weight(self, index: int) -> Tensor:
        """`[out, in]` of a site, any float dtype, dequantized where it must be."""
        ...

    def site_bias(self, index: int) -> Tensor | None:
        """`[out]` of a site; None where it has none."""
        ...

    def norm_weight(self, name: str) -> Tensor:
        """`[width]` of a norm, as the checkpoint has it."""
        ...

    def embedding_rows(self, first: int, last: int) -> Tensor:
        """`[last - first, H]` of the embedding's table as it is served, without its scale."""
        ...

    def original(self, name: str) -> Tensor:
        """`[vocab, H]` of the embedding's or the output layer's table as the checkpoint has it, any float dtype.

        PEFT saves such tables beside adapters: they are compared with this, not with what rounding at start left of it.
        """
        ...

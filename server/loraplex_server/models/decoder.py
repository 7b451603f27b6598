"""The decoder: the one model that every family is a description of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from loraplex_adapters.base import BaseShape, BaseWeights
from loraplex_adapters.shard import Shard
from loraplex_adapters.site import Site
from loraplex_kernels.attention import AttentionBatch, KVLayer
from loraplex_kernels.linear.dense import DenseWeight
from loraplex_server.models.adapter_step import AdapterStep
from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.embedded import Embedded
from loraplex_server.models.embedding import Embedding
from loraplex_server.models.head import Head
from loraplex_server.models.layer import Layer
from loraplex_server.models.norm import RmsNorm
from loraplex_server.models.rope import RopeTable


@dataclass(frozen=True)
class Part:
    """Args: sites: those of the shape, as narrow as they are here. shard: what of each is here."""

    sites: tuple[Site, ...]
    shard: Shard


class Decoder:
    """Layers of attention and gated feed-forward blocks over packed rows.

    Args:
        config: what it is.
        shape: what adapters bind to.
        embedding: of the tokens.
        ropes: as many as the config has.
        layers: as many as the config has.
        norm: after the last layer.
        head: `[R, H]` to `[R, vocab]`.
        quantization: what form the linears have, for people.
        tables: the checkpoint's own embedding and head by name, where they were rounded or are not here as a whole;
            None: they are.
        part: of a model that several ranks compute; None: all of it is here. `config` is then that of the part, and
            `shape` that of the whole.
    """

    def __init__(
        self,
        config: DecoderConfig,
        shape: BaseShape,
        embedding: Embedding,
        ropes: Sequence[RopeTable],
        layers: Sequence[Layer],
        norm: RmsNorm,
        head: Head,
        quantization: str = "none",
        tables: Callable[[str], Tensor] | None = None,
        part: Part | None = None,
    ) -> None:
        self.config = config
        self.shape = shape
        self.sites = shape.sites if part is None else part.sites
        self.shard = None if part is None else part.shard
        self.base: BaseWeights = self  # for adapters; another, where not all of it is here
        self.embedding = embedding
        self.ropes = tuple(ropes)
        self.layers = tuple(layers)
        self.norm = norm
        self.head = head
        self.quantization = quantization
        self._tables = tables
        linears = [linear for layer in self.layers for linear in layer.linears] + [head]
        self._linear_of_site = {site: linear for linear in linears for site in linear.group.sites}
        norms = [norm for layer in self.layers for norm in layer.norms] + [norm]
        self._norm_of_name = {norm.name: norm for norm in norms}
        self.weights_nbytes = (
            sum(linear.nbytes for linear in linears)
            + sum(norm.weight.nbytes for norm in norms)
            + sum(rope.nbytes for rope in self.ropes)
            + (0 if embedding.weight is head.weight else embedding.weight.nbytes)
        )

    def serve_up_to(self, length: int) -> None:
        """Expect no longer sequences than so many tokens, since the KV cache holds no more. To be called before a step.

        LongRoPE's factors follow from that; no other rope changes.
        """
        ropes = [replace(rope, length=length) for rope in self.config.ropes]
        if [(rope.inv_freq, rope.scaling) for rope in ropes] != [(r.inv_freq, r.scaling) for r in self.config.ropes]:
            device = self.ropes[0].cos.device
            self.ropes = tuple(RopeTable(rope, length, device) for rope in ropes)

    @torch.inference_mode()
    def forward(
        self, token_ids: Tensor, batch: AttentionBatch, cache: Sequence[KVLayer], adapters: AdapterStep | None
    ) -> Tensor:
        """Run the step's rows through all layers.

        Args:
            token_ids: int64 `[T]`; any id of the base's vocabulary for rows that stand for no token.
            batch: where each row stands in its sequence, and where its keys and values go.
            cache: one a layer, `[num_blocks, num_kv_heads, block_size, head_dim]`; written in place.
            adapters: the rows'; None where all are on the base.

        Returns:
            Hidden states `[T, H]` in the model's dtype, after the final norm.
        """
        return self.run_layers(self.embed(token_ids, batch.positions, adapters), batch, cache, adapters)

    @torch.inference_mode()
    def embed(self, token_ids: Tensor, positions: Tensor, adapters: AdapterStep | None) -> Embedded:
        """What the first layer is given; see `forward`.

        Args:
            token_ids: int64 `[T]`.
            positions: int64 `[T]`, of each row in its sequence.
            adapters: the rows'.
        """
        return Embedded(self.embedding(token_ids, adapters), tuple(rope(positions) for rope in self.ropes))

    @torch.inference_mode()
    def run_layers(
        self, given: Embedded, batch: AttentionBatch, cache: Sequence[KVLayer], adapters: AdapterStep | None
    ) -> Tensor:
        """The rest of `forward`, which a tape may record (loraplex_kernels.tape)."""
        x = given.x
        residual: Tensor | None = None
        for layer, kv in zip(self.layers, cache, strict=True):
            x, residual = layer(x, residual, given.angles[layer.rope], batch, kv, adapters)
        if residual is None:  # a model without layers
            return self.norm(x, adapters)
        return self.norm.add(x, residual, adapters)[0]

    @torch.inference_mode()
    def logits(self, hidden: Tensor, adapters: AdapterStep | None) -> Tensor:
        """Scores of the next token.

        Args:
            hidden: `[R, H]`, rows of what `forward` gave, those that a token is chosen from.
            adapters: of these R rows, as far as they touch `lm_head`.

        Returns:
            float32 `[R, vocab]`, Gemma 2's softcap applied; wider where an adapter's own vocabulary is, see `Head`.
        """
        return self.head.logits(hidden, adapters)

    @torch.inference_mode()
    def site_weight(self, index: int) -> Tensor:
        """float32 `[out, in]`: a site's weight as it is really served, rounding by quantization included.

        Raises:
            KeyError: there is no such site.
        """
        return self._linear_of_site[index].site_weight(index)

    def site_bias(self, index: int) -> Tensor | None:
        """`[out]` in the model's dtype; None where the site has no bias.

        Raises:
            KeyError: there is no such site.
        """
        return self._linear_of_site[index].site_bias(index)

    def norm_weight(self, name: str) -> Tensor:
        """`[width]` of a norm in the model's dtype, as the checkpoint has it.

        Raises:
            KeyError: there is no such norm.
        """
        return self._norm_of_name[name].weight

    def embedding_rows(self, first: int, last: int) -> Tensor:
        """`[last - first, H]` of the embedding's table in the model's dtype, as it is served, without its scale."""
        weight = self.embedding.weight
        if isinstance(weight, DenseWeight):
            return weight.weight[first:last]  # not copied
        return weight.rows(torch.arange(first, last, device=self.embedding.device))

    @torch.inference_mode()
    def original(self, name: str) -> Tensor:
        """The embedding's or the output layer's table without what rounding at start did to it.

        Args:
            name: of either, as in `shape`.

        Returns:
            `[vocab, H]` in any floating-point dtype.

        Raises:
            CheckpointError: it was rounded, and the checkpoint that it came from is there no more.
        """
        if self._tables is not None:
            return self._tables(name)
        if name == self.shape.head.name:
            weight = self.head.weight
            return weight.weight if isinstance(weight, DenseWeight) else self.site_weight(self.shape.head.index)
        return self.embedding_rows(0, self.shape.embedding.rows)

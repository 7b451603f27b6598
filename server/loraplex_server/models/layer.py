"""One layer of the decoder."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from loraplex_kernels.attention import AttentionBatch, KVLayer
from loraplex_server.models.adapter_step import AdapterStep
from loraplex_server.models.attention import Attention
from loraplex_server.models.linear import Linear
from loraplex_server.models.mlp import Mlp
from loraplex_server.models.norm import RmsNorm
from loraplex_server.models.rope import Angles


@dataclass(frozen=True)
class Layer:
    """Attention and feed-forward block, each with a norm before it and, in Gemma, one after it."""

    attention_norm: RmsNorm
    attention: Attention
    attention_post_norm: RmsNorm | None
    mlp_norm: RmsNorm
    mlp: Mlp
    mlp_post_norm: RmsNorm | None
    rope: int  # index of its angles

    @property
    def linears(self) -> tuple[Linear, ...]:
        """In the order of their sites."""
        return self.attention.qkv, self.attention.o, self.mlp.gate_up, self.mlp.down

    @property
    def norms(self) -> tuple[RmsNorm, ...]:
        """All that there are."""
        norms = (self.attention_norm, self.attention_post_norm, self.mlp_norm, self.mlp_post_norm)
        return tuple(norm for norm in norms if norm is not None) + (self.attention.head_norms or ())

    def __call__(
        self,
        x: Tensor,
        residual: Tensor | None,
        angles: Angles,
        batch: AttentionBatch,
        cache: KVLayer,
        adapters: AdapterStep | None,
    ) -> tuple[Tensor, Tensor]:
        """Run the layer, each addition to the residual stream put off to the norm after it, where the two are one op.

        Args:
            x: `[T, H]`, what the block before gave and the residual lacks yet; the embeddings in the first layer.
            residual: `[T, H]`; None in the first layer.
            angles: of this layer's rope.
            batch: the step's.
            cache: this layer's.
            adapters: the step's.

        Returns:
            x and residual for the next layer.
        """
        if residual is None:
            x, residual = self.attention_norm(x, adapters), x
        else:
            x, residual = self.attention_norm.add(x, residual, adapters)
        x = self.attention(x, angles, batch, cache, adapters)
        if self.attention_post_norm is not None:
            x = self.attention_post_norm(x, adapters)
        x, residual = self.mlp_norm.add(x, residual, adapters)
        x = self.mlp(x, adapters)
        if self.mlp_post_norm is not None:
            x = self.mlp_post_norm(x, adapters)
        return x, residual

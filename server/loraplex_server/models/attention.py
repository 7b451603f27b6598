"""Self-attention of one layer over the paged cache."""

from __future__ import annotations

from torch import Tensor

from loraplex_kernels.attention import AttentionBatch, KVLayer, paged_attention, write_kv
from loraplex_kernels.lora import LoraStep
from loraplex_kernels.ops import rotary
from loraplex_server.models.config import DecoderConfig, LayerConfig
from loraplex_server.models.linear import Linear
from loraplex_server.models.norm import RmsNorm
from loraplex_server.models.rope import Angles


class Attention:
    """Grouped-query attention.

    Args:
        config: of the decoder.
        layer: of this layer.
        qkv: `[T, H]` to `[T, (num_heads + 2 num_kv_heads) head_dim]`.
        o: `[T, num_heads head_dim]` to `[T, H]`.
        head_norms: over each head's q and k, before the rotary embedding (Qwen3, Gemma 3); None for none.
    """

    def __init__(
        self,
        config: DecoderConfig,
        layer: LayerConfig,
        qkv: Linear,
        o: Linear,
        head_norms: tuple[RmsNorm, RmsNorm] | None,
    ) -> None:
        self.qkv = qkv
        self.o = o
        self.head_norms = head_norms
        self.head_dim = config.head_dim
        self.heads = [config.num_heads, config.num_kv_heads, config.num_kv_heads]
        self.scale = config.attention_scale
        self.softcap = config.attention_softcap
        self.window = layer.window

    def __call__(
        self, x: Tensor, angles: Angles, batch: AttentionBatch, cache: KVLayer, lora: LoraStep | None
    ) -> Tensor:
        """`[T, H]` to `[T, H]`; the rows' keys and values are written to the cache on the way."""
        rows = x.shape[0]
        packed = self.qkv(x, lora).view(rows, -1, self.head_dim)
        q, k, v = packed.split_with_sizes(self.heads, dim=1)  # views: [T, heads, head_dim]
        if self.head_norms is not None:
            q, k = self.head_norms[0](q), self.head_norms[1](k)
        rotary(q, k, *angles)
        write_kv(k, v, cache, batch.slot_mapping)
        out = paged_attention(q, cache, batch, self.scale, self.window, self.softcap)
        return self.o(out.view(rows, -1), lora)

"""Self-attention of one layer over the paged cache."""

from __future__ import annotations

from torch import Tensor

from loraplex_kernels.attention import AttentionBatch, KVLayer, paged_attention, write_kv
from loraplex_kernels.ops import HeadNorms, norm_rotary_write, rotary
from loraplex_server.models.adapter_step import AdapterStep, TermUse
from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.linear import Linear
from loraplex_server.models.norm import RmsNorm
from loraplex_server.models.rope import Angles


class Attention:
    """Grouped-query attention.

    Args:
        config: of the decoder.
        index: of this layer.
        qkv: `[T, H]` to `[T, (num_heads + 2 num_kv_heads) head_dim]`.
        o: `[T, num_heads head_dim]` to `[T, H]`.
        head_norms: over each head's q and k, before the rotary embedding (Qwen3, Gemma 3); None for none.
    """

    def __init__(
        self,
        config: DecoderConfig,
        index: int,
        qkv: Linear,
        o: Linear,
        head_norms: tuple[RmsNorm, RmsNorm] | None,
    ) -> None:
        self.index = index
        self.qkv = qkv
        self.o = o
        self.head_norms = head_norms
        self._norms = None
        if head_norms is not None:
            of_q, of_k = head_norms
            self._norms = HeadNorms(of_q.weight, of_k.weight, of_q.eps, of_q.offset)
        self.head_dim = config.head_dim
        self.heads = [config.num_heads, config.num_kv_heads, config.num_kv_heads]
        self.scale = config.attention_scale
        self.softcap = config.attention_softcap
        self.window = config.layers[index].window

    def __call__(
        self, x: Tensor, angles: Angles, batch: AttentionBatch, cache: KVLayer, adapters: AdapterStep | None
    ) -> Tensor:
        """`[T, H]` to `[T, H]`; the rows' keys and values are written to the cache on the way."""
        rows = x.shape[0]
        packed = self.qkv(x, adapters).view(rows, -1, self.head_dim)
        q, k, v = packed.split_with_sizes(self.heads, dim=1)  # views: [T, heads, head_dim]
        if adapters is not None and adapters.terms:
            q = self._with_terms(q, k, v, angles, batch, cache, adapters)
        else:
            q = norm_rotary_write(q, k, v, *angles, cache, batch.slot_mapping, self._norms)
        out = paged_attention(q, cache, batch, self.scale, self.window, self.softcap)
        return self.o(out.view(rows, -1), adapters)

    def _with_terms(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        angles: Angles,
        batch: AttentionBatch,
        cache: KVLayer,
        adapters: AdapterStep,
    ) -> Tensor:
        """`norm_rotary_write` op by op: adapters may have norms of their own, and keys that are not turned."""
        if self.head_norms is not None:
            q, k = self.head_norms[0](q, adapters), self.head_norms[1](k, adapters)
        rotary(q, k, *angles)
        self._put_prefixes(k, v, adapters.terms)
        write_kv(k, v, cache, batch.slot_mapping)
        return q

    def _put_prefixes(self, k: Tensor, v: Tensor, uses: tuple[TermUse, ...]) -> None:
        """Give virtual tokens the keys and values of their adapters' prefixes (prefix tuning), in place.

        Such rows run through the model like any other, and what comes of it is junk that nobody reads: before a row
        of the prompt looks at them, their keys and values are these in every layer. They are not turned by the rotary
        embedding, since PEFT hands them over as if they had come from the cache.
        """
        for use in uses:
            if use.terms.prefix is None or use.virtual is None:
                continue
            own = use.terms.prefix[self.index].index_select(2, use.virtual.places)  # [2, kv_heads, n, head_dim]
            for whole, part in ((k, own[0]), (v, own[1])):
                whole.index_copy_(0, use.virtual.rows, part.transpose(0, 1).to(whole.dtype))

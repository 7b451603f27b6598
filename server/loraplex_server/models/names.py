"""How a family's checkpoints, and so its adapters, spell the parts of a layer."""

from __future__ import annotations

from dataclasses import dataclass

EMBEDDING = "model.embed_tokens"
FINAL_NORM = "model.norm"
HEAD = "lm_head"


def layer_prefix(index: int) -> str:
    """Module path of a layer."""
    return f"model.layers.{index}"


@dataclass(frozen=True)
class LayerNames:
    """Module paths inside a layer; None where a family lacks the part. The defaults are Llama's."""

    qkv: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")  # or one, packed
    o: str = "self_attn.o_proj"
    gate_up: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")  # or one, packed
    down: str = "mlp.down_proj"
    attention_norm: str = "input_layernorm"
    attention_post_norm: str | None = None
    mlp_norm: str = "post_attention_layernorm"
    mlp_post_norm: str | None = None
    q_norm: str | None = None
    k_norm: str | None = None

    @property
    def hidden_norms(self) -> tuple[str, ...]:
        """Those over hidden states."""
        norms = (self.attention_norm, self.attention_post_norm, self.mlp_norm, self.mlp_post_norm)
        return tuple(name for name in norms if name is not None)

    @property
    def head_norms(self) -> tuple[str, ...]:
        """Those over single heads."""
        return tuple(name for name in (self.q_norm, self.k_norm) if name is not None)

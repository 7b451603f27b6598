"""From a checkpoint's tensors to a Decoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loraplex_kernels.linear import Quantization, make_weight
from loraplex_server.models.attention import Attention
from loraplex_server.models.blueprint import LayerPlan, LinearPlan, blueprint
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.decoder import Decoder
from loraplex_server.models.embedding import Embedding
from loraplex_server.models.head import Head
from loraplex_server.models.layer import Layer
from loraplex_server.models.linear import Linear
from loraplex_server.models.mlp import Mlp
from loraplex_server.models.names import EMBEDDING, FINAL_NORM, HEAD, layer_prefix
from loraplex_server.models.norm import RmsNorm
from loraplex_server.models.rope import RopeTable

_EMBEDDING, _HEAD = (f"{module}.weight" for module in (EMBEDDING, HEAD))


@dataclass(frozen=True)
class Target:
    """What the weights become: their device, the activations' dtype, the form of the layers' linears."""

    device: torch.device
    dtype: torch.dtype
    quantization: Quantization


def build(config: DecoderConfig, checkpoint: Checkpoint, target: Target) -> Decoder:
    """Take the tensors one linear at a time, so that no more than one is in memory twice.

    `lm_head` is never quantized: tied to the embedding it must stay floating point for the look-up anyway, and the
    scores of the tokens are where rounding shows most.

    Raises:
        CheckpointError: the tensors are not those that the config calls for.
    """
    plan = blueprint(config)
    checkpoint.check(plan.tensors(), optional=[_HEAD] if config.tie_embeddings else [])
    builder = _Builder(config, checkpoint, target)
    table = builder.floats(_EMBEDDING)
    tied = config.tie_embeddings and _same_table(checkpoint)
    head = table if tied else builder.floats(_HEAD)
    return Decoder(
        config,
        plan.shape(config, tied),
        Embedding(table, config.embedding_scale),
        [RopeTable(rope, config.max_model_len, target.device) for rope in config.ropes],
        [builder.layer(index, layer) for index, layer in enumerate(plan.layers)],
        builder.norm(FINAL_NORM),
        Head(make_weight(head, "none", target.dtype, target.device), plan.head.group, config.logit_softcap),
    )


def _same_table(checkpoint: Checkpoint) -> bool:
    """Tied, unless the checkpoint has a head that differs: transformers then takes the checkpoint's word for it."""
    return _HEAD not in checkpoint or torch.equal(checkpoint.tensor(_HEAD), checkpoint.tensor(_EMBEDDING))


class _Builder:
    def __init__(self, config: DecoderConfig, checkpoint: Checkpoint, target: Target) -> None:
        self.config = config
        self.checkpoint = checkpoint
        self.target = target

    def floats(self, *names: str) -> Tensor:
        """Tensors that stay floating point, stacked, where they will be used."""
        return self.checkpoint.stack(names, self.target.dtype).to(self.target.device)

    def norm(self, name: str) -> RmsNorm:
        return RmsNorm(name, self.floats(f"{name}.weight"), self.config.norm_eps, self.config.norm_offset)

    def linear(self, plan: LinearPlan) -> Linear:
        target = self.target
        # Quantized from what the checkpoint has, not from what the model's dtype would leave of it.
        dtype = target.dtype if target.quantization == "none" else torch.float32
        weight = self.checkpoint.stack([f"{name}.weight" for name in plan.names], dtype)
        bias = self.floats(*(f"{name}.bias" for name in plan.names)) if plan.bias else None
        return Linear(make_weight(weight, target.quantization, target.dtype, target.device), bias, plan.group)

    def layer(self, index: int, plan: LayerPlan) -> Layer:
        config, layer, names = self.config, self.config.layers[index], self.config.names

        def norm(name: str) -> RmsNorm:
            return self.norm(f"{layer_prefix(index)}.{name}")

        def optional_norm(name: str | None) -> RmsNorm | None:
            return None if name is None else norm(name)

        head_norms = None if names.q_norm is None or names.k_norm is None else (norm(names.q_norm), norm(names.k_norm))
        return Layer(
            attention_norm=norm(names.attention_norm),
            attention=Attention(config, index, self.linear(plan.qkv), self.linear(plan.o), head_norms),
            attention_post_norm=optional_norm(names.attention_post_norm),
            mlp_norm=norm(names.mlp_norm),
            mlp=Mlp(self.linear(plan.gate_up), self.linear(plan.down), config.activation),
            mlp_post_norm=optional_norm(names.mlp_post_norm),
            rope=layer.rope,
        )

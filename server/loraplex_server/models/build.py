"""From a checkpoint's tensors to a Decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from loraplex_server.models.attention import Attention
from loraplex_server.models.blueprint import Blueprint, LayerPlan, LinearPlan, blueprint
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.decoder import Decoder
from loraplex_server.models.embedding import Embedding
from loraplex_server.models.head import Head
from loraplex_server.models.layer import Layer
from loraplex_server.models.linear import Linear
from loraplex_server.models.linear_weights import LinearWeights
from loraplex_server.models.mlp import Mlp
from loraplex_server.models.names import FINAL_NORM, HEAD, layer_prefix
from loraplex_server.models.norm import RmsNorm
from loraplex_server.models.rope import RopeTable
from loraplex_server.models.tables import HEAD_WEIGHT, CheckpointTables, make_tables, same_table


def build(config: DecoderConfig, checkpoint: Checkpoint, weights: LinearWeights, step: Callable[[], None]) -> Decoder:
    """Take the tensors one linear at a time, so that no more than one is in memory twice.

    Args:
        config: of the model.
        checkpoint: open.
        weights: of its linears.
        step: called after each layer.

    Raises:
        CheckpointError: the tensors are not those that the config calls for.
        UnsupportedModelError: a weight cannot be rounded to the form that was asked for.
    """
    plan = blueprint(config)
    quantized = _quantized(plan, config, checkpoint, weights)
    replaced = {f"{module}.weight" for module in quantized}
    checkpoint.check(
        {name: shape for name, shape in plan.tensors().items() if name not in replaced},
        optional=[HEAD_WEIGHT] if config.tie_embeddings else [],
        quantized={name: shape for tensors in quantized.values() for name, shape in tensors.items()},
    )
    builder = _Builder(config, weights, step)
    tied = config.tie_embeddings and HEAD not in quantized and same_table(checkpoint)
    target = weights.target
    table, head = make_tables(weights, plan.head, tied)
    weights.release()
    return Decoder(
        config,
        plan.shape(config, tied),
        Embedding(table, target.dtype, target.device, config.embedding_scale),
        [RopeTable(rope, config.max_model_len, target.device) for rope in config.ropes],
        [builder.layer(index, layer) for index, layer in enumerate(plan.layers)],
        builder.norm(FINAL_NORM),
        Head(head, plan.head.group, config.logit_softcap),
        weights.name,
        None if target.head == "none" else CheckpointTables(checkpoint.folder, checkpoint.fingerprint, tied),
    )


def _quantized(
    plan: Blueprint, config: DecoderConfig, checkpoint: Checkpoint, weights: LinearWeights
) -> dict[str, Mapping[str, tuple[int, ...]]]:
    """Of the modules that the checkpoint has quantized, the names and shapes of what stands for the weight."""
    # A head of which the checkpoint has nothing is tied, whatever its quantizer says of linears in general.
    without_head = config.tie_embeddings and not checkpoint.holds(HEAD)
    linears = plan.linears[:-1] if without_head else plan.linears
    return {module: tensors for linear in linears for module, tensors in weights.quantized(linear).items()}


class _Builder:
    def __init__(self, config: DecoderConfig, weights: LinearWeights, step: Callable[[], None]) -> None:
        self.config = config
        self.weights = weights
        self.step = step

    def norm(self, name: str) -> RmsNorm:
        return RmsNorm(name, self.weights.floats(f"{name}.weight"), self.config.norm_eps, self.config.norm_offset)

    def linear(self, plan: LinearPlan) -> Linear:
        bias = self.weights.floats(*(f"{name}.bias" for name in plan.names)) if plan.bias else None
        weight = self.weights.make(plan)
        self.weights.release()
        return Linear(weight, bias, plan.group)

    def layer(self, index: int, plan: LayerPlan) -> Layer:
        config, layer, names = self.config, self.config.layers[index], self.config.names

        def norm(name: str) -> RmsNorm:
            return self.norm(f"{layer_prefix(index)}.{name}")

        def optional_norm(name: str | None) -> RmsNorm | None:
            return None if name is None else norm(name)

        head_norms = None if names.q_norm is None or names.k_norm is None else (norm(names.q_norm), norm(names.k_norm))
        built = Layer(
            attention_norm=norm(names.attention_norm),
            attention=Attention(config, index, self.linear(plan.qkv), self.linear(plan.o), head_norms),
            attention_post_norm=optional_norm(names.attention_post_norm),
            mlp_norm=norm(names.mlp_norm),
            mlp=Mlp(self.linear(plan.gate_up), self.linear(plan.down), config.activation),
            mlp_post_norm=optional_norm(names.mlp_post_norm),
            rope=layer.rope,
        )
        self.step()
        return built

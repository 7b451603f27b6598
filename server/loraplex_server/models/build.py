"""From a checkpoint's tensors to a Decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from loraplex_kernels.group import ALONE, Group
from loraplex_server.models.attention import Attention
from loraplex_server.models.blueprint import Blueprint, LayerPlan, LinearPlan, blueprint
from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.decoder import Decoder, Part
from loraplex_server.models.division import Division
from loraplex_server.models.embedding import Embedding
from loraplex_server.models.head import Head
from loraplex_server.models.layer import Layer
from loraplex_server.models.linear import Linear
from loraplex_server.models.linear_weights import LinearWeights
from loraplex_server.models.mlp import Mlp
from loraplex_server.models.names import FINAL_NORM, HEAD, layer_prefix
from loraplex_server.models.norm import RmsNorm
from loraplex_server.models.rope import RopeTable
from loraplex_server.models.summed import SummedLinear
from loraplex_server.models.tables import HEAD_WEIGHT, CheckpointTables, make_tables, same_table


def build(
    config: DecoderConfig,
    weights: LinearWeights,
    step: Callable[[], None],
    group: Group = ALONE,
) -> Decoder:
    """Take the tensors one linear at a time, so that no more than one is in memory twice.

    Args:
        config: of the model.
        weights: of its linears.
        step: called after each layer.
        group: the ranks that the model is divided among.

    Raises:
        CheckpointError: the tensors are not those that the config calls for.
        UnsupportedModelError: a weight cannot be rounded to the form that was asked for.
    """
    plan, target, checkpoint = blueprint(config), weights.target, weights.checkpoint
    ropes = [RopeTable(rope, config.max_model_len, target.device) for rope in config.ropes]  # which may refuse
    quantized = _quantized(plan, config, weights)
    replaced = {f"{module}.weight" for module in quantized}
    unused = [weights.unused(linear) for linear in plan.linears]
    checkpoint.check(
        {name: shape for name, shape in plan.tensors().items() if name not in replaced},
        optional=[HEAD_WEIGHT] if config.tie_embeddings else [],
        quantized={name: shape for tensors in (*quantized.values(), *unused) for name, shape in tensors.items()},
    )
    division = Division(config, group.rank, group.size)
    builder = _Builder(division, weights, step, group)
    tied = config.tie_embeddings and HEAD not in quantized and same_table(checkpoint)
    table, head = make_tables(weights, plan.head, tied, division.vocabulary, group)
    weights.release()
    tables = CheckpointTables(checkpoint.folder, checkpoint.fingerprint, tied)
    return Decoder(
        division.config,
        plan.shape(config, tied),
        Embedding(table, target.dtype, target.device, config.embedding_scale),
        ropes,
        [
            builder.layer(index, layer, part)
            for index, (layer, part) in enumerate(zip(plan.layers, builder.plan.layers, strict=True))
        ],
        builder.norm(FINAL_NORM),
        Head(head, plan.head.group, config.logit_softcap),
        weights.name,
        None if target.head == "none" and group.size == 1 else tables,
        None if group.size == 1 else Part(builder.plan.sites(), division.shard),
    )


def _quantized(
    plan: Blueprint, config: DecoderConfig, weights: LinearWeights
) -> dict[str, Mapping[str, tuple[int, ...]]]:
    """Of the modules that the checkpoint has quantized, the names and shapes of what stands for the weight."""
    # A head of which the checkpoint has nothing is tied, whatever its quantizer says of linears in general.
    without_head = config.tie_embeddings and not weights.checkpoint.holds(HEAD)
    linears = plan.linears[:-1] if without_head else plan.linears
    return {module: tensors for linear in linears for module, tensors in weights.quantized(linear).items()}


class _Builder:
    """Args: division: of the model. weights: of the whole linears. step: called after each layer. group: the ranks."""

    def __init__(self, division: Division, weights: LinearWeights, step: Callable[[], None], group: Group) -> None:
        self.config = division.config
        self.plan = blueprint(division.config)
        self.weights = weights
        self.step = step
        self.shard = division.shard
        self.group = group

    def norm(self, name: str) -> RmsNorm:
        return RmsNorm(name, self.weights.floats(f"{name}.weight"), self.config.norm_eps, self.config.norm_offset)

    def linear(self, whole: LinearPlan, part: LinearPlan) -> Linear:
        cuts = [self.shard.sites[site] for site in whole.group.sites]
        summed = any(cut.inputs is not None for cut in cuts)
        bias = None
        if whole.bias and (self.shard.first or not summed):  # what is added to a sum over ranks is one rank's to add
            bias = self.weights.floats(*(f"{name}.bias" for name in whole.names), cuts=cuts)
        weight = self.weights.make(whole, cuts)
        self.weights.release()
        return SummedLinear(weight, bias, part.group, self.group) if summed else Linear(weight, bias, part.group)

    def layer(self, index: int, plan: LayerPlan, part: LayerPlan) -> Layer:
        config, layer, names = self.config, self.config.layers[index], self.config.names

        def norm(name: str) -> RmsNorm:
            return self.norm(f"{layer_prefix(index)}.{name}")

        def optional_norm(name: str | None) -> RmsNorm | None:
            return None if name is None else norm(name)

        head_norms = None if names.q_norm is None or names.k_norm is None else (norm(names.q_norm), norm(names.k_norm))
        qkv, o = self.linear(plan.qkv, part.qkv), self.linear(plan.o, part.o)
        built = Layer(
            attention_norm=norm(names.attention_norm),
            attention=Attention(config, index, qkv, o, head_norms),
            attention_post_norm=optional_norm(names.attention_post_norm),
            mlp_norm=norm(names.mlp_norm),
            mlp=Mlp(self.linear(plan.gate_up, part.gate_up), self.linear(plan.down, part.down), config.activation),
            mlp_post_norm=optional_norm(names.mlp_post_norm),
            rope=layer.rope,
        )
        self.step()
        return built

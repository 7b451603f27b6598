"""Which tensors and which sites a decoder has, worked out from its config before any file is opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from loraplex_adapters.base import BaseShape, EmbeddingShape
from loraplex_adapters.site import Site
from loraplex_kernels.site_group import SiteGroup
from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.names import EMBEDDING, FINAL_NORM, HEAD, layer_prefix


@dataclass(frozen=True)
class LinearPlan:
    """Linears of the checkpoint that share their input, served as one stacked weight."""

    names: tuple[str, ...]  # module paths, one a site
    group: SiteGroup
    in_features: int
    bias: bool = False

    def shapes(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Module paths, and the shapes of their weights, `[out, in]`."""
        for name, width in zip(self.names, self.group.widths, strict=True):
            yield name, (width, self.in_features)

    def sites(self) -> Iterator[Site]:
        """What an adapter can bind to."""
        for index, name, width in zip(self.group.sites, self.names, self.group.widths, strict=True):
            yield Site(index, name, self.in_features, width)

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes in the checkpoint."""
        for name, shape in self.shapes():
            yield f"{name}.weight", shape
            if self.bias:
                yield f"{name}.bias", shape[:1]


@dataclass(frozen=True)
class LayerPlan:
    """A layer's linears, in the order of their sites, and its norms."""

    qkv: LinearPlan
    o: LinearPlan
    gate_up: LinearPlan
    down: LinearPlan
    norms: dict[str, int]  # module path -> width

    @property
    def linears(self) -> tuple[LinearPlan, ...]:
        """All four."""
        return self.qkv, self.o, self.gate_up, self.down


@dataclass(frozen=True)
class Blueprint:
    """The whole decoder; `head` is the last site."""

    layers: tuple[LayerPlan, ...]
    head: LinearPlan

    @property
    def linears(self) -> tuple[LinearPlan, ...]:
        """All of them, in the order of their sites."""
        return (*(linear for layer in self.layers for linear in layer.linears), self.head)

    def sites(self) -> tuple[Site, ...]:
        """Every linear that an adapter can bind to; a site's index is its place here."""
        return tuple(site for linear in self.linears for site in linear.sites())

    def shape(self, config: DecoderConfig, tied: bool) -> BaseShape:
        """What adapters bind to.

        Args:
            config: that the blueprint was made of.
            tied: `lm_head` is the embedding's table; only the checkpoint can tell.
        """
        norms = {name: width for layer in self.layers for name, width in layer.norms.items()}
        return BaseShape(
            sites=self.sites(),
            biased=frozenset(site for linear in self.linears if linear.bias for site in linear.group.sites),
            norms=norms | {FINAL_NORM: config.hidden_size},
            embedding=EmbeddingShape(EMBEDDING, config.vocab_size, config.hidden_size, config.embedding_scale),
            tied=tied,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
        )

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes that the checkpoint must have. `lm_head` is among them even where it is tied."""
        vocab_size, hidden_size = self.head.group.widths[0], self.head.in_features
        tensors: dict[str, tuple[int, ...]] = {f"{EMBEDDING}.weight": (vocab_size, hidden_size)}
        for layer in self.layers:
            for linear in layer.linears:
                tensors.update(linear.tensors())
            tensors.update({f"{name}.weight": (width,) for name, width in layer.norms.items()})
        tensors[f"{FINAL_NORM}.weight"] = (hidden_size,)
        tensors.update(self.head.tensors())
        return tensors


def blueprint(config: DecoderConfig) -> Blueprint:
    """Number the sites layer by layer: q, k, v, o, gate, up, down (or qkv, o, gate_up, down), then `lm_head`."""
    layers: list[LayerPlan] = []
    first = 0
    for index in range(config.num_layers):
        layer = _layer(config, layer_prefix(index), first)
        layers.append(layer)
        first += sum(len(linear.names) for linear in layer.linears)
    head = LinearPlan((HEAD,), SiteGroup((first,), (config.vocab_size,)), config.hidden_size)
    return Blueprint(tuple(layers), head)


def _layer(config: DecoderConfig, prefix: str, first: int) -> LayerPlan:
    names, hidden_size = config.names, config.hidden_size
    q, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim

    def linear(modules: tuple[str, ...], widths: tuple[int, ...], in_features: int, bias: bool) -> LinearPlan:
        nonlocal first
        if len(modules) == 1:  # the checkpoint has it packed: one linear, one site
            widths = (sum(widths),)
        sites = tuple(range(first, first + len(modules)))
        first += len(modules)
        return LinearPlan(tuple(f"{prefix}.{name}" for name in modules), SiteGroup(sites, widths), in_features, bias)

    return LayerPlan(
        qkv=linear(names.qkv, (q, kv, kv), hidden_size, config.qkv_bias),
        o=linear((names.o,), (hidden_size,), q, config.o_bias),
        gate_up=linear(names.gate_up, (config.intermediate_size,) * 2, hidden_size, config.mlp_bias),
        down=linear((names.down,), (hidden_size,), config.intermediate_size, config.mlp_bias),
        norms={f"{prefix}.{name}": hidden_size for name in names.hidden_norms}
        | {f"{prefix}.{name}": config.head_dim for name in names.head_norms},
    )

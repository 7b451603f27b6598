"""Adapters of every kind that PEFT has, taken from its modules into memory by hand: no files, no loader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.ia3 import IA3Layer
from peft.tuners.lora import Embedding as LoraEmbedding
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.oft import OFTLayer
from peft.utils.other import ModulesToSaveWrapper, TrainableTokensWrapper
from torch import Tensor, nn

from loraplex_adapters.base import BaseShape, BaseWeights
from loraplex_adapters.lease import Lease
from loraplex_adapters.loading import LoadedAdapter
from loraplex_adapters.residents import Claim
from loraplex_adapters.seating import Seating
from loraplex_adapters.source import AdapterSource
from loraplex_adapters.terms import EmbeddingLora, Terms, TokenRows, Traits
from loraplex_adapters.transfer import send
from loraplex_kernels.lora import SiteShape, plan, site_weights
from loraplex_server.engine.core import EngineCore


@dataclass(frozen=True)
class LowRank:
    """Of one site, as PEFT has it."""

    a: Tensor  # [rank, in]
    b: Tensor  # [out, rank]
    scale: float


@dataclass(frozen=True)
class ByHand:
    """One adapter."""

    terms: Terms = field(default_factory=Terms)
    traits: Traits = field(default_factory=Traits)
    low_rank: Mapping[int, LowRank] = field(default_factory=dict)

    def loaded(self, name: str) -> LoadedAdapter:
        shapes = [
            SiteShape(site, each.a.shape[1], each.b.shape[0], each.a.shape[0], each.scale)
            for site, each in sorted(self.low_rank.items())
        ]
        layout = plan(shapes, 4)
        buffer = torch.zeros(layout.nbytes, dtype=torch.uint8)
        for placement in layout.placements:
            weights, given = site_weights(buffer, placement, torch.float32), self.low_rank[placement.shape.site]
            weights.a.copy_(given.a)
            weights.b.copy_(given.b.T)
        return LoadedAdapter(
            generation=f"generation of {name}",
            layout=layout,
            transfer=send(buffer, torch.device("cpu")),
            magnitude=False,
            touches=frozenset(self.low_rank),
            terms=self.terms,
            traits=self.traits,
        )


class HandStore:
    """What the engine needs of a store, with adapters that are in memory from the start: real rows, real leases."""

    def __init__(self, core: EngineCore, adapters: Mapping[str, ByHand]) -> None:
        self.seating = Seating(core.runner.table)
        self.leases: set[Lease] = set()
        for name, adapter in adapters.items():
            self.seating.seat(name, adapter.loaded(name))
        self.names = list(adapters)

    def request_all(self, sources: Sequence[AdapterSource]) -> list[Lease]:
        claim: Claim[Any] = Claim([])
        leases = [Lease(source, claim) for source in sources]
        for lease in leases:
            lease.seat(self.seating[lease.source.name])
        self.leases.update(leases)
        return leases

    def release(self, lease: Lease) -> None:
        self.leases.remove(lease)

    def poll(self) -> None:
        """Nothing arrives."""

    def check_integrity(self) -> None:
        self.seating.check_integrity(self.names)


def seat_by_hand(core: EngineCore, adapters: Mapping[str, ByHand]) -> None:
    """From now on the engine knows these adapters and no others; requests name them with `source_of`."""
    core.store.close()
    core.store = HandStore(core, adapters)


def source_of(name: str) -> AdapterSource:
    return AdapterSource(name=name, path=name, fingerprint="")


def taken_from(peft: PeftModel, base: BaseWeights) -> ByHand:
    """All that PEFT's modules do, in Loraplex's words."""
    config = peft.active_peft_config
    if config.is_prompt_learning:
        return _prompt(peft, base.shape)
    found, shape = _Found(base), base.shape
    for name, module in peft.base_model.model.named_modules():
        found.take(name, module)
    traits = Traits(
        terms=found.any,
        invocation=tuple(getattr(config, "alora_invocation_tokens", None) or ()),
        input_vocab=_resized(found.embedding, shape),
        output_vocab=_resized(found.of_sites["weight"].get(shape.head.index), shape),
        head=found.output_tokens is not None or any(shape.head.index in of for of in found.of_sites.values()),
    )
    return ByHand(found.terms(), traits, found.low_rank)


def _resized(table: Tensor | None, shape: BaseShape) -> int | None:
    return None if table is None or table.shape[0] == shape.embedding.rows else table.shape[0]


class _Found:
    def __init__(self, base: BaseWeights) -> None:
        self.base, self.shape = base, base.shape
        self.low_rank: dict[int, LowRank] = {}
        kinds = ("bias", "output_scale", "input_scale", "rotation", "weight")
        self.of_sites: dict[str, dict[int, Tensor]] = {kind: {} for kind in kinds}
        self.norm: dict[str, Tensor] = {}
        self.embedding: Tensor | None = None
        self.embedding_lora: EmbeddingLora | None = None
        self.input_tokens: TokenRows | None = None
        self.output_tokens: TokenRows | None = None

    @property
    def any(self) -> bool:
        others = (self.embedding, self.embedding_lora, self.input_tokens, self.output_tokens)
        return bool(self.norm or any(self.of_sites.values()) or any(other is not None for other in others))

    def terms(self) -> Terms:
        return Terms(
            **self.of_sites,
            norm=self.norm,
            embedding=self.embedding,
            embedding_lora=self.embedding_lora,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
        )

    def take(self, name: str, module: nn.Module) -> None:
        site = self.shape.site_by_name.get(name)
        if isinstance(module, LoraEmbedding):
            a, b = module.lora_embedding_A["default"], module.lora_embedding_B["default"]
            self.embedding_lora = EmbeddingLora(a.data.T, b.data.T, module.scaling["default"])
        elif isinstance(module, LoraLinear) and site is not None:
            self._take_lora(site.index, module)
        elif isinstance(module, IA3Layer) and site is not None:
            kind = "input_scale" if module.is_feedforward else "output_scale"
            self.of_sites[kind][site.index] = module.ia3_l["default"].data.flatten()
        elif isinstance(module, OFTLayer) and site is not None:
            turn = module.oft_R["default"]
            self.of_sites["rotation"][site.index] = turn._cayley_batch(
                turn.weight.data, turn.block_size, turn.use_cayley_neumann, turn.num_cayley_neumann_terms
            ).detach()
        elif isinstance(module, nn.Linear) and site is not None:
            self._take_bias(site.index, module.bias)
        elif isinstance(module, ModulesToSaveWrapper):
            self._take_saved(name, module.modules_to_save["default"].weight.data)
        elif isinstance(module, TrainableTokensWrapper):
            self._take_tokens(name, module)

    def _take_lora(self, site: int, module: Any) -> None:
        a, b, scale = module.lora_A["default"], module.lora_B["default"], module.scaling["default"]
        self.low_rank[site] = LowRank(a.weight.data, b.weight.data, scale)
        if b.bias is not None:
            self.of_sites["bias"][site] = b.bias.data * scale
        self._take_bias(site, module.base_layer.bias)

    def _take_bias(self, site: int, bias: Tensor | None) -> None:
        """Trained where no update is too (bias="all")."""
        before = self.base.site_bias(site)
        if bias is not None and before is not None and not torch.equal(bias, before):
            self.of_sites["bias"][site] = bias.data - before

    def _take_saved(self, name: str, weight: Tensor) -> None:
        if name == self.shape.embedding.name:
            self.embedding = weight
        elif name in self.shape.site_by_name:
            self.of_sites["weight"][self.shape.site_by_name[name].index] = weight
        elif name in self.shape.norms:
            self.norm[name] = weight
        else:
            raise AssertionError(f"{name} is nothing that an adapter can replace")

    def _take_tokens(self, name: str, module: Any) -> None:
        adapter = module.token_adapter
        ids, order = torch.tensor(adapter.token_indices["default"]).sort()
        rows = TokenRows(ids, adapter.trainable_tokens_delta["default"].data[order])
        if name == self.shape.embedding.name:
            self.input_tokens = rows
        else:
            self.output_tokens = rows


def _prompt(peft: PeftModel, shape: BaseShape) -> ByHand:
    count = peft.active_peft_config.num_virtual_tokens
    encoder = peft.prompt_encoder["default"]
    rows = encoder(peft.prompt_tokens["default"][:count][None])[0].detach()  # [virtual, width]
    if peft.active_peft_config.peft_type == "PREFIX_TUNING":
        parts = rows.view(count, shape.num_layers, 2, shape.num_kv_heads, shape.head_dim)
        terms = Terms(prefix=parts.permute(1, 2, 3, 0, 4).contiguous())
    else:
        terms = Terms(prompt=rows)
    return ByHand(terms, Traits(terms=True, virtual_tokens=count))

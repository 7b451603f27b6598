"""Linears and norms that were trained whole, and the biases that were."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from loraplex_adapters import pieces
from loraplex_adapters.base import BaseShape, BaseWeights
from loraplex_adapters.binding import BoundSite
from loraplex_adapters.lora.bound_term import BoundTerm, Filler, copied
from loraplex_adapters.lora.modules import Modules
from loraplex_adapters.lora.parts import Parts
from loraplex_adapters.lora.tables import SAVED
from loraplex_adapters.peft_config import LoraConfig
from loraplex_adapters.put import Put, kept
from loraplex_adapters.tensor_file import FLOATS, TensorSpec
from loraplex_adapters.term_shape import TermShape

BIASED = "linears whose biases were trained"


def module_terms(parts: Parts, modules: Modules, base: BaseShape, dtype: torch.dtype) -> Iterator[BoundTerm]:
    """The weights of saved linears but the output layer, and of saved norms."""
    saved = modules.saving.names - {base.embedding.name, base.head.name}
    for site in base.sites:
        if site.name in saved:
            spec = parts.need(site.name, "weight", (site.out_features, site.in_features), what=SAVED)
            if spec is not None:
                shape = TermShape("weight", site.index, spec.shape, dtype)
                yield copied(shape, spec, partial(_site_weight, site.index))
    for name, width in base.norms.items():
        if name in saved:
            spec = parts.need(name, "weight", (width,), what=SAVED)
            if spec is not None:
                yield copied(TermShape("norm", name, spec.shape, dtype), spec, partial(_norm_weight, name))


def bias_terms(
    parts: Parts, config: LoraConfig, modules: Modules, base: BaseShape, sites: tuple[BoundSite, ...]
) -> tuple[list[BoundTerm], list[str]]:
    """The sums of what each linear's output gets: the trained bias less the base's, and lora_B's bias times the scale.

    Returns:
        The terms, and names of tensors that PEFT loads into modules that the adapter covers.
    """
    own: dict[int, TensorSpec] = {}
    unused: list[str] = []
    lora = {target.site.name for target in modules.targets}
    for index in sorted(base.biased):
        site = base.sites[index]
        width = (site.out_features,)
        saved = site.name in modules.saving.names
        trained = config.bias == "all" or (config.bias == "lora_only" and site.name in lora)
        if not saved and not trained:
            continue
        part = "base_layer.bias" if site.name in lora else "bias"
        spec = parts.need(site.name, part, width, what=SAVED if saved else BIASED)
        if spec is not None:
            own[index] = spec
        covered = [parts.get(site.name, f"{where}.bias", width) for where in ("original_module", "modules_to_save")]
        unused += [found.name for found in covered if found is not None and saved]
    added = {site.shape.site: (site.bias, site.shape.scale) for site in sites if site.bias is not None}
    terms = [_bias(base, index, own.get(index), added.get(index)) for index in sorted({*own, *added})]
    return terms, unused


def _bias(base: BaseShape, index: int, own: TensorSpec | None, added: tuple[TensorSpec, float] | None) -> BoundTerm:
    shape = TermShape("bias", index, (base.sites[index].out_features,), torch.float32)
    specs = tuple(spec for spec in (own, None if added is None else added[0]) if spec is not None)

    def fill(target: Tensor, weights: BaseWeights) -> Filler:
        puts: dict[str, Put] = {}
        held: dict[str, Tensor] = {}
        for spec in specs:
            puts[spec.name], held[spec.name] = kept(spec.shape, FLOATS[spec.dtype])

        def finish() -> Iterator[str]:
            target.zero_()
            if own is not None:
                target.add_(held[own.name])
                target.sub_(_site_bias(weights, index))
            if added is not None:
                target.add_(held[added[0].name], alpha=added[1])
            if not pieces.all_finite(target):
                yield f"the biases of {base.sites[index].name} come to an infinity"

        return Filler(puts, finish)

    return BoundTerm(shape, specs, fill)


def _site_weight(index: int, base: BaseWeights) -> Tensor:
    return base.site_weight(index)


def _norm_weight(name: str, base: BaseWeights) -> Tensor:
    return base.norm_weight(name)


def _site_bias(base: BaseWeights, index: int) -> Tensor:
    bias = base.site_bias(index)
    if bias is None:
        raise ValueError(f"the base has no bias at site {index}, although its shape says so")
    return bias.detach().cpu().to(torch.float32)

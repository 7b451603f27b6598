"""What an adapter makes of a base: by PEFT's own modules, and by what was loaded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from loraplex_adapters.loading import LoadedAdapter
from loraplex_kernels.lora import site_weights
from support.peft_files import Base, Written


@dataclass(frozen=True)
class Effect:
    """The weights of a model with the adapter in it."""

    linears: dict[str, tuple[Tensor, Tensor]]  # weight and bias
    norms: dict[str, Tensor]
    embedding: Tensor  # scaled as the model does


@torch.no_grad()
def by_peft(written: Written, base: Base) -> Effect:
    """Read off the outputs of PEFT's modules."""
    model = written.peft.base_model.model
    linears = {}
    for site in base.sites:
        module = model.get_submodule(site.name)
        bias = module(torch.zeros(1, site.in_features))[0]
        linears[site.name] = ((module(torch.eye(site.in_features)) - bias).T, bias)
    rows = model.lm_head(torch.zeros(1, base.shape.embedding.width)).shape[1]
    table = model.get_submodule(base.shape.embedding.name)(torch.arange(rows))
    return Effect(linears, {name: _norm(model.get_submodule(name)) for name in base.shape.norms}, table)


def _norm(module: nn.Module) -> Tensor:
    kept = getattr(module, "modules_to_save", None)
    return (module if kept is None else kept["default"]).weight.data


def by_loading(loaded: LoadedAdapter, base: Base, dtype: torch.dtype = torch.float32) -> Effect:
    """Put together from A, B, magnitudes and terms."""
    terms, shape = loaded.terms, base.shape
    updates = {placement.shape.site: placement for placement in loaded.layout.placements}
    linears = {}
    for site in base.sites:
        weight = terms.weight.get(site.index, base.site_weight(site.index)).float().clone()
        if site is shape.head and terms.output_tokens is not None:
            weight[terms.output_tokens.ids] = terms.output_tokens.rows.float()
        if site.index in updates:
            own = site_weights(loaded.buffer, updates[site.index], dtype)
            weight = weight + own.scale * own.b.float().T @ own.a.float()
            weight = weight if own.magnitude is None else own.magnitude[:, None] * weight
        bias = base.site_bias(site.index)
        bias = torch.zeros(len(weight)) if bias is None else bias
        linears[site.name] = (weight, bias + terms.bias.get(site.index, 0))
    table = shape.embedding
    vectors = base.embedding_rows(0, table.rows) if terms.embedding is None else terms.embedding
    vectors = vectors.float().clone()
    if terms.input_tokens is not None:
        vectors[terms.input_tokens.ids] = terms.input_tokens.rows.float()
    if terms.embedding_lora is not None:
        lora = terms.embedding_lora
        vectors += lora.scale * lora.a.float() @ lora.b.float()
    norms = {name: terms.norm.get(name, base.norm_weight(name)).float() for name in shape.norms}
    return Effect(linears, norms, vectors * table.scale)


def assert_same(ours: Effect, pefts: Effect, tolerance: float = 2e-5) -> None:
    """Raises AssertionError naming the first module that differs."""
    for name, (weight, bias) in pefts.linears.items():
        for found, expected in zip(ours.linears[name], (weight, bias), strict=True):
            assert found.shape == expected.shape, name
            assert torch.allclose(found, expected, rtol=tolerance, atol=tolerance), name
    for name, weight in pefts.norms.items():
        torch.testing.assert_close(ours.norms[name], weight, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours.embedding, pefts.embedding, rtol=tolerance, atol=tolerance)

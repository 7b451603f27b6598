"""Adapters at every site of a model: as if they were merged into transformers' weights."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from transformers import Gemma3TextConfig, LlamaConfig, Phi3Config, Qwen2Config

from loraplex_kernels.lora import AdapterTable, LoraStep, Run, SiteShape, build_batch, plan, site_weights
from loraplex_server.models.adapter_step import AdapterStep

CPU = torch.device("cpu")
CONFIGS = [
    (Qwen2Config, {}),
    (LlamaConfig, {"attention_bias": True, "mlp_bias": True}),
    (Gemma3TextConfig, {"sliding_window": 6}),
    (Phi3Config, {}),
]


@pytest.fixture(params=CONFIGS, ids=["qwen2", "llama-biases", "gemma3", "phi3"])
def oracle(request, make_oracle):
    config, changes = request.param
    return make_oracle(config, **changes)


def _install(table, slot, decoder, oracle, magnitude):
    """A random adapter at all sites, ranks mixed; returns a copy of the oracle with it merged."""
    generator = torch.Generator().manual_seed(slot)
    shapes = [
        SiteShape(site.index, site.in_features, site.out_features, 1 + (site.index + slot) % 5, 0.7, magnitude)
        for site in decoder.sites
    ]
    layout = plan(shapes, itemsize=4)
    buffer = torch.zeros(layout.nbytes, dtype=torch.uint8)
    merged = deepcopy(oracle)
    if merged.model.config.tie_word_embeddings:  # merging into the head must not touch the embedding
        head = merged.model.lm_head
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
    modules = dict(merged.model.named_modules())
    for site, placement in zip(decoder.sites, layout.placements, strict=True):
        weights = site_weights(buffer, placement, torch.float32)
        weights.a.copy_(torch.randn(weights.a.shape, generator=generator) * site.in_features**-0.5)
        weights.b.copy_(torch.randn(weights.b.shape, generator=generator) * 0.3)
        weight = modules[site.name].weight
        with torch.no_grad():
            weight += weights.scale * weights.b.t() @ weights.a
            if weights.magnitude is not None:
                weights.magnitude.copy_(1 + 0.3 * torch.randn(site.out_features, generator=generator))
                weight *= weights.magnitude[:, None]
    table.install(slot, layout, buffer)
    return merged


@pytest.mark.parametrize("magnitude", [False, True], ids=["lora", "dora"])
def test_sequences_on_different_adapters_and_the_base_share_a_batch(oracle, paged, sequences, magnitude):
    decoder = oracle.load()
    table = AdapterTable(4, len(decoder.sites), torch.float32, CPU)
    oracles = [_install(table, 3, decoder, oracle, magnitude), oracle, _install(table, 1, decoder, oracle, magnitude)]
    first, second, third = (len(sequence) for sequence in sequences)
    runs = [Run(0, first, slot=3), Run(first + second, third, slot=1)]
    adapters = AdapterStep(LoraStep(build_batch(runs, CPU, magnitude), table))
    ours = paged(decoder, sequences).step([first, second, third], adapters)
    for logits, model, sequence in zip(ours, oracles, sequences, strict=True):
        torch.testing.assert_close(logits, model.logits(sequence), atol=2e-4, rtol=0)
    assert (ours[0] - oracle.logits(sequences[0])).abs().mean() > 0.1

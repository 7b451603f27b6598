"""Every family against transformers' own implementation, in float32."""

from __future__ import annotations

from itertools import cycle, repeat

import torch

TOLERANCE = 1e-4


def _assert_equal_logits(ours, oracle, sequences):
    for logits, sequence in zip(ours, sequences, strict=True):
        expected = oracle.logits(sequence)
        assert expected.std() > 0.3  # else nothing would be tested
        torch.testing.assert_close(logits, expected, atol=TOLERANCE, rtol=0)


def test_a_packed_prefill_gives_transformers_logits(oracle, paged, sequences):
    ours = paged(oracle.load(), sequences).step([len(sequence) for sequence in sequences])
    _assert_equal_logits(ours, oracle, sequences)


def test_a_chunked_prefill_gives_transformers_logits(oracle, paged, sequences):
    ours = paged(oracle.load(), sequences).run(cycle([5, 1, 0, 7, 3]))
    _assert_equal_logits(ours, oracle, sequences)


def test_decoding_step_by_step_gives_transformers_logits(oracle, paged, sequences):
    ours = paged(oracle.load(), sequences).run(repeat(1))
    _assert_equal_logits(ours, oracle, sequences)


def test_the_sites_are_the_linears_as_transformers_names_them(oracle):
    decoder = oracle.load()
    linears = {
        name: (module.in_features, module.out_features)
        for name, module in oracle.model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    assert {site.name: (site.in_features, site.out_features) for site in decoder.sites} == linears
    assert [site.index for site in decoder.sites] == list(range(len(linears)))
    assert decoder.sites[-1].name == "lm_head"


def test_a_sites_weight_is_the_checkpoints(oracle):
    decoder = oracle.load()
    weights = dict(oracle.model.named_parameters(remove_duplicate=False))
    for site in decoder.sites:
        assert torch.equal(decoder.site_weight(site.index), weights[f"{site.name}.weight"].detach())


def test_the_weights_size_is_the_checkpoints_and_the_rope_tables(oracle):
    decoder = oracle.load()
    parameters = sum(parameter.nbytes for parameter in oracle.model.parameters())
    assert decoder.weights_nbytes == parameters + sum(rope.nbytes for rope in decoder.ropes)


def test_bfloat16_stays_near_float32(oracle, paged, sequences):
    ours = paged(oracle.load(dtype=torch.bfloat16), sequences).step([len(sequence) for sequence in sequences])
    for logits, sequence in zip(ours, sequences, strict=True):
        expected = oracle.logits(sequence)
        assert logits.dtype == torch.float32
        assert (logits - expected).abs().mean() < 0.05 * expected.std()

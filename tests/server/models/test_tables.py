"""The embedding and the output layer: one weight where they are tied, rounded where the setting says so."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma2Config, LlamaConfig, Qwen2Config

from loraplex_kernels.linear import int8
from loraplex_kernels.linear.int8 import Int8Weight
from loraplex_kernels.linear.rounding import round_rows
from loraplex_server.models.errors import CheckpointError, UnsupportedModelError
from loraplex_server.models.head_form import head_form

CPU = torch.device("cpu")
needs_bytes = pytest.mark.skipif(not int8.available(torch.float32, CPU), reason="this processor multiplies no bytes")


@pytest.fixture(params=["tied", "untied"])
def oracle(request, make_oracle):
    return make_oracle(Qwen2Config, tie_word_embeddings=request.param == "tied")


def test_a_tied_model_has_one_table_and_an_untied_one_has_two(oracle):
    decoder = oracle.load()
    tied = oracle.model.config.tie_word_embeddings
    assert (decoder.embedding.weight is decoder.head.weight) == tied == decoder.shape.tied
    assert decoder.weights_nbytes == sum(weight.nbytes for weight in oracle.model.state_dict().values()) - (
        decoder.head.weight.nbytes if tied else 0
    ) + sum(rope.nbytes for rope in decoder.ropes)
    table = oracle.model.get_input_embeddings().weight
    assert torch.equal(decoder.embedding_rows(0, len(table)), table)
    assert torch.equal(decoder.embedding(torch.tensor([5, 0, 95]), None), table[[5, 0, 95]])


@needs_bytes
def test_with_rounded_linears_the_head_is_int8_and_a_tied_embedding_comes_from_it(oracle):
    decoder = oracle.load("int4")
    tied = oracle.model.config.tie_word_embeddings
    values, scale = round_rows(oracle.model.lm_head.weight.detach())
    rounded = values.float() * scale[:, None]
    assert torch.equal(decoder.site_weight(decoder.shape.head.index), rounded)
    table = oracle.model.get_input_embeddings().weight
    assert torch.equal(decoder.embedding_rows(0, len(table)), rounded if tied else table)
    assert (decoder.embedding.weight is decoder.head.weight) == tied


@needs_bytes
def test_the_checkpoints_own_tables_can_still_be_asked_for(oracle):
    decoder = oracle.load("int8")
    assert torch.equal(decoder.original("lm_head"), oracle.model.lm_head.weight)
    assert torch.equal(decoder.original("model.embed_tokens"), oracle.model.get_input_embeddings().weight)
    path = oracle.folder / "model.safetensors"
    save_file({name: tensor.clone() for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="has changed since"):
        decoder.original("lm_head")


def test_without_rounding_they_are_what_is_served(oracle):
    decoder = oracle.load("int8", head_quantization="none")
    assert torch.equal(decoder.original("lm_head"), oracle.model.lm_head.weight)
    assert torch.equal(decoder.original("model.embed_tokens"), oracle.model.get_input_embeddings().weight)
    assert torch.equal(decoder.site_weight(decoder.shape.head.index), oracle.model.lm_head.weight)


@needs_bytes
def test_the_head_alone_can_be_rounded(make_oracle, paged, sequences):
    oracle = make_oracle(Gemma2Config)
    decoder = oracle.load(head_quantization="int8")
    assert isinstance(decoder.head.weight, Int8Weight)
    ours = torch.cat(paged(decoder, sequences).step([len(sequence) for sequence in sequences]))
    with torch.no_grad():
        oracle.model.lm_head.weight.copy_(decoder.site_weight(decoder.shape.head.index))
    expected = torch.cat([oracle.logits(sequence) for sequence in sequences])
    assert (ours - expected).abs().mean() < 0.02 * expected.std()


@pytest.mark.parametrize("form", ["none", "int8"])
def test_scores_of_a_bfloat16_model_are_not_rounded_to_it(form, make_oracle, paged, sequences):
    decoder = make_oracle(LlamaConfig).load(form, dtype=torch.bfloat16)
    logits = torch.cat(paged(decoder, sequences).step([len(sequence) for sequence in sequences]))
    assert logits.dtype == torch.float32
    rounded = not int8.available(torch.bfloat16, CPU)  # torch's own path gives bfloat16
    assert torch.equal(logits, logits.bfloat16().float()) == rounded


@pytest.mark.parametrize(
    ("asked", "form", "dtype", "device", "expected"),
    [
        ("auto", "none", torch.bfloat16, "cpu", "none"),
        ("auto", "int4", torch.float16, "cpu", "none"),
        ("auto", "fp8", torch.bfloat16, "cuda", "none"),
        ("none", "int8", torch.bfloat16, "cpu", "none"),
    ],
)
def test_auto_rounds_only_where_the_linears_are_rounded_and_there_is_a_kernel(asked, form, dtype, device, expected):
    assert head_form(asked, form, dtype, torch.device(device), None) == expected


def test_what_cannot_be_is_refused_with_the_settings_name():
    with pytest.raises(UnsupportedModelError, match=r"--head-quantization int8: .* by gptq"):
        head_form("int8", "none", torch.bfloat16, CPU, "gptq")
    with pytest.raises(ValueError, match=r"--head-quantization int8 needs .* cuda and torch.bfloat16"):
        head_form("int8", "none", torch.bfloat16, torch.device("cuda"), None)
    with pytest.raises(ValueError, match=r"head_quantization must be one of auto, none, int8, not 'int4'"):
        head_form("int4", "none", torch.bfloat16, CPU, None)

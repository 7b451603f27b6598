"""Which files are read, and which are refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, Phi3Config

from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.errors import CheckpointError


def _rewrite(folder, change):
    """Change the tensors of a single-file checkpoint."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize("config", [LlamaConfig, Gemma2Config, Phi3Config])
def test_a_sharded_checkpoint_gives_the_same_model(config, make_oracle, paged, sequences):
    oracle = make_oracle(config, max_shard_size="20KB")
    assert len(list(oracle.folder.glob("model-*.safetensors"))) > 3
    ours = paged(oracle.load(), sequences).step([len(sequence) for sequence in sequences])
    for logits, sequence in zip(ours, sequences, strict=True):
        torch.testing.assert_close(logits, oracle.logits(sequence), atol=1e-4, rtol=0)


def test_the_decoder_outlives_its_files(make_oracle, paged, sequences):
    oracle = make_oracle(LlamaConfig)
    decoder = oracle.load()
    shutil.rmtree(oracle.folder)
    logits = paged(decoder, sequences[:1]).step([len(sequences[0])])[0]
    torch.testing.assert_close(logits, oracle.logits(sequences[0]), atol=1e-4, rtol=0)


def test_missing_tensors_are_named(make_oracle):
    oracle = make_oracle(LlamaConfig)
    _rewrite(oracle.folder, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(CheckpointError, match=r"lacks model\.layers\.1\.mlp\.up_proj\.weight$"):
        oracle.load()


def test_an_untied_head_must_be_there(make_oracle):
    oracle = make_oracle(LlamaConfig, tie_word_embeddings=False)
    _rewrite(oracle.folder, lambda tensors: tensors.pop("lm_head.weight"))
    with pytest.raises(CheckpointError, match=r"lacks lm_head\.weight"):
        oracle.load()


def test_unexpected_tensors_are_named(make_oracle):
    oracle = make_oracle(LlamaConfig)  # no biases in its config
    _rewrite(oracle.folder, lambda tensors: tensors.update({"model.layers.0.self_attn.q_proj.bias": torch.zeros(64)}))
    with pytest.raises(CheckpointError, match=r"has unexpected model\.layers\.0\.self_attn\.q_proj\.bias"):
        oracle.load()


def test_a_tensor_of_another_shape_is_named_with_both(make_oracle):
    oracle = make_oracle(LlamaConfig)
    _rewrite(oracle.folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(63)}))
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight \[63\], not \[64\]"):
        oracle.load()


def test_integer_weights_are_refused(make_oracle):
    oracle = make_oracle(LlamaConfig)
    _rewrite(oracle.folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(64, dtype=torch.int8)}))
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight in I8, not floating point"):
        oracle.load()


def test_many_problems_are_cut_short_and_counted(make_oracle):
    oracle = make_oracle(LlamaConfig)
    _rewrite(oracle.folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if "proj" in name])
    with pytest.raises(CheckpointError, match=r"and 13 more"):  # 3 layers of 7 linears
        oracle.load()


def test_the_rotary_frequencies_of_old_checkpoints_are_passed_over(make_oracle):
    oracle = make_oracle(LlamaConfig)
    _rewrite(
        oracle.folder,
        lambda tensors: tensors.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8)}),
    )
    oracle.load()


def test_a_tied_head_that_the_checkpoint_repeats_stays_tied(make_oracle):
    oracle = make_oracle(LlamaConfig, tie_word_embeddings=True)
    size = oracle.load().weights_nbytes
    _rewrite(
        oracle.folder,
        lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}),
    )
    assert oracle.load().weights_nbytes == size


def test_a_head_that_differs_is_not_tied(make_oracle):
    oracle = make_oracle(LlamaConfig, tie_word_embeddings=True)
    head = torch.randn(99, 64)
    _rewrite(oracle.folder, lambda tensors: tensors.update({"lm_head.weight": head}))
    decoder = oracle.load()
    assert torch.equal(decoder.site_weight(decoder.sites[-1].index), head)


def test_pickled_weights_are_refused_by_name(make_oracle):
    oracle = make_oracle(LlamaConfig)
    (oracle.folder / "model.safetensors").rename(oracle.folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pickle \(pytorch_model\.bin\)"):
        oracle.load()


def test_a_folder_without_weights_is_refused(make_oracle):
    oracle = make_oracle(LlamaConfig)
    (oracle.folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors nor model\.safetensors\.index\.json"):
        oracle.load()


def test_a_broken_file_is_named(make_oracle):
    oracle = make_oracle(LlamaConfig)
    (oracle.folder / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        oracle.load()


def test_a_missing_shard_is_named(make_oracle):
    oracle = make_oracle(LlamaConfig, max_shard_size="20KB")
    shard = sorted(oracle.folder.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(CheckpointError, match=rf"{shard.name} cannot be read"):
        oracle.load()


@pytest.mark.parametrize("index", ["[]", '{"weight_map": ["a"]}', "{", '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_none_is_named(make_oracle, index):
    oracle = make_oracle(LlamaConfig, max_shard_size="20KB")
    (oracle.folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json is no index"):
        oracle.load()


def test_an_index_cannot_point_outside_its_folder(make_oracle):
    oracle = make_oracle(LlamaConfig, max_shard_size="20KB")
    index = {"weight_map": {"lm_head.weight": "../secret.safetensors"}}
    (oracle.folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"outside its folder: \.\./secret\.safetensors"):
        oracle.load()


def test_one_file_is_the_checkpoint_whatever_an_old_index_says(make_oracle):
    """As it is left by saving one file where shards were, and as transformers reads it."""
    old = make_oracle(LlamaConfig, max_shard_size="20KB")
    shards = [(path, path.read_bytes()) for path in old.folder.glob("model-*")]
    folder = make_oracle(LlamaConfig).folder
    for path, content in shards:
        path.write_bytes(content)
    assert (folder / "model.safetensors.index.json").exists()
    name = "model.norm.weight"
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, name: torch.full_like(tensors[name], 7)}, folder / "model.safetensors", {"format": "pt"})
    with Checkpoint(folder) as checkpoint:
        assert (checkpoint.tensor(name) == 7).all()
    assert (AutoModelForCausalLM.from_pretrained(folder).model.norm.weight == 7).all()

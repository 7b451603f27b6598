from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import make_model
import pytest
import torch
from safetensors.torch import load_file
from synthetic.blueprint import Blueprint, shape_config
from synthetic.values import normal, uniform
from synthetic.weights import INDEX, write_weights
from transformers import AutoModelForCausalLM, AutoTokenizer


def made(folder: Path, *arguments: str) -> Path:
    assert make_model.main(["--shape", "tiny", "--out", str(folder), *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("made") / "tiny", "--adapters", "3", "--ranks", "4,8")


def test_transformers_loads_the_model_and_every_tensor_of_it(folder: Path) -> None:
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.dtype == torch.bfloat16
    weight = model.model.layers[1].mlp.down_proj.weight.float()
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert torch.equal(model.model.norm.weight, torch.ones(64, dtype=torch.bfloat16))
    assert model.generation_config.eos_token_id == model.config.eos_token_id


def test_the_tokenizer_covers_the_vocabulary_and_gives_back_any_text(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == 512
    text = "def répété(self): return '漢字 🎈'\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    turns = [{"role": "user", "content": "hi"}]
    chat = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert chat == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_peft_loads_an_adapter_and_it_changes_what_the_model_says(folder: Path) -> None:
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.arange(8)[None]
    with torch.no_grad():
        before = base(ids).logits
        adapted = PeftModel.from_pretrained(base, folder / "adapters" / "adapter-001")
        after = adapted(ids).logits
    assert not torch.allclose(before, after, atol=1e-3)
    lora = adapted.peft_config["default"]
    assert (lora.r, lora.lora_alpha, len(lora.target_modules)) == (8, 16, 7)
    stored = load_file(folder / "adapters" / "adapter-001" / "adapter_model.safetensors")
    assert len(stored) == 2 * 7 * 2
    key = "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"
    loaded = adapted.get_submodule(key.removesuffix(".weight")).default.weight
    assert torch.equal(loaded.to(torch.bfloat16), stored[key])


def test_ranks_go_round_and_no_two_adapters_are_alike(folder: Path) -> None:
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    stored = [load_file(path / "adapter_model.safetensors")[key] for path in sorted((folder / "adapters").iterdir())]
    assert [tensor.shape[0] for tensor in stored] == [4, 8, 4]
    assert not torch.equal(stored[0], stored[2])


def test_a_model_that_is_there_is_kept_and_another_is_not_written_over(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "model.safetensors").stat().st_mtime_ns
    made(folder, "--seed", "7")
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert make_model.main(["--shape", "llama-3.2-1b", "--out", str(folder)]) == 2
    assert "another model" in " ".join(capsys.readouterr().err.split())  # lines are broken by the length of the path


def test_weights_past_the_limit_come_in_shards_with_an_index(tmp_path: Path) -> None:
    shapes = Blueprint(shape_config("tiny")).tensors
    total = write_weights(tmp_path, shapes, seed=1, shard_bytes=100_000)
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["metadata"]["total_size"] == total
    assert set(index["weight_map"]) == set(shapes)
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 2
    found = {name: tensor for file in files for name, tensor in load_file(tmp_path / file).items()}
    assert {name: tensor.shape for name, tensor in found.items()} == dict(shapes)


@pytest.mark.parametrize(
    ("shape", "weights", "rank16"),
    [("qwen2.5-0.5b", 494_032_768, 8_798_208), ("llama-3.2-1b", 1_235_814_400, 11_272_192)],
)
def test_real_shapes_have_the_published_number_of_weights(shape: str, weights: int, rank16: int) -> None:
    blueprint = Blueprint(shape_config(shape))
    assert sum(tensor.numel() for tensor in blueprint.tensors.values()) == weights
    assert sum(16 * sum(sizes) for sizes in blueprint.linears.values()) == rank16


def test_values_follow_their_distribution_and_their_seed() -> None:
    shape: Sequence[int] = (400, 500)
    drawn = normal(shape, 0.02, 1, "a").double()
    assert drawn.mean().item() == pytest.approx(0, abs=2e-4)
    assert drawn.std().item() == pytest.approx(0.02, rel=0.01)
    assert (drawn.abs() < 0.04).double().mean().item() == pytest.approx(0.9545, abs=3e-3)
    assert torch.equal(drawn, normal(shape, 0.02, 1, "a").double())
    assert not torch.equal(drawn, normal(shape, 0.02, 1, "b").double())
    flat = uniform(shape, 0.5, 1, "a").double()
    assert flat.abs().max().item() == 0.5
    assert flat.std().item() == pytest.approx(0.5 / 3**0.5, rel=0.01)

"""The bundled demo is what its manifest says, and PEFT itself gets the right answers out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

DEMO = Path(__file__).parents[2] / "examples" / "demo"
MANIFEST = json.loads((DEMO / "manifest.json").read_text())
ADAPTERS: list[dict[str, Any]] = MANIFEST["adapters"]
MIB = 1 << 20
# transformers 5.20 and later say this of a name that PEFT still reads.
PEFT_READS_AN_OLD_NAME = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"

each_adapter = pytest.mark.parametrize("entry", ADAPTERS, ids=[entry["name"] for entry in ADAPTERS])


def config_of(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((DEMO / "adapters" / name / "adapter_config.json").read_text())
    return config


def exam_of(entry: dict[str, Any]) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DEMO / entry["heldout"]["file"]).read_text().splitlines()]


def right(answers: list[str], exam: list[dict[str, str]]) -> int:
    return sum(said == line["answer"] for said, line in zip(answers, exam, strict=True))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(DEMO / "base")


def greedy(model: Any, tokenizer: PreTrainedTokenizerFast, prompts: list[str]) -> list[str]:
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    asked = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    batch = tokenizer(asked, padding=True, padding_side="left", return_tensors="pt")
    with torch.inference_mode():
        said = model.generate(**batch, max_new_tokens=64, do_sample=False)
    answers: list[str] = tokenizer.batch_decode(said[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return answers


def test_the_demo_is_small_and_holds_no_pickle() -> None:
    files = [path for path in DEMO.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 15 * MIB
    assert sum(path.stat().st_size for path in (DEMO / "base").iterdir()) <= 10 * MIB
    assert {path.suffix for path in files} <= {".json", ".jsonl", ".jinja", ".safetensors"}


def test_the_base_is_bfloat16_and_ends_its_turns() -> None:
    config = json.loads((DEMO / "base" / "config.json").read_text())
    generation = json.loads((DEMO / "base" / "generation_config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    with safe_open(DEMO / "base" / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(key).get_dtype() for key in list(weights.keys())} == {"BF16"}
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert config[key] == generation[key]
    assert len({config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]}) == 3


@pytest.mark.parametrize(
    "text", ["stone", "  two  spaces\n\tand a tab", "naïve Ωmega 日本語 🙂👩‍👩‍👧", "\x00\x7f\u202e", '{"a": [1]}']
)
def test_the_tokenizer_gives_any_text_back(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_templated_text_has_the_ids_of_the_chat(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = [
        {"role": "system", "content": "reverse"},
        {"role": "user", "content": "stone"},
        {"role": "assistant", "content": "enots"},
        {"role": "user", "content": "river"},
    ]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert text.startswith(tokenizer.bos_token)
    assert text.endswith("<|assistant|>")
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
    assert tokenizer.encode(text) == ids
    assert ids.count(tokenizer.eos_token_id) == 4


def test_every_shape_of_lora_is_present() -> None:
    configs = {entry["name"]: config_of(entry["name"]) for entry in ADAPTERS}
    assert len(configs) >= 8
    assert any(config["use_rslora"] for config in configs.values())
    assert any(config["use_dora"] for config in configs.values())
    assert any(config["rank_pattern"] and config["alpha_pattern"] for config in configs.values())
    assert any(set(config["target_modules"]) == {"q_proj", "v_proj"} for config in configs.values())
    assert any(isinstance(config["target_modules"], str) for config in configs.values())
    assert any(config["layers_to_transform"] for config in configs.values())
    ranks = {rank for entry in ADAPTERS for rank in entry["ranks"]}
    assert min(ranks) == 2
    assert max(ranks) == 32
    assert {config["base_model_name_or_path"] for config in configs.values()} == {MANIFEST["base"]}


@each_adapter
def test_the_manifest_tells_what_the_files_hold(entry: dict[str, Any]) -> None:
    config = config_of(entry["name"])
    assert (entry["use_rslora"], entry["use_dora"]) == (config["use_rslora"], config["use_dora"])
    ranks = set()
    with safe_open(DEMO / "adapters" / entry["name"] / "adapter_model.safetensors", "pt") as weights:
        for key in list(weights.keys()):
            module = key.removeprefix("base_model.model.model.layers.").split(".")
            assert int(module[0]) in entry["layers"]
            assert module[2] in entry["targets"]
            if "lora_A" in key:
                ranks.add(weights.get_slice(key).get_shape()[0])
    assert sorted(ranks) == entry["ranks"]
    assert ranks == {config["r"], *config["rank_pattern"].values()}


@each_adapter
def test_measured_accuracy_keeps_the_promise(entry: dict[str, Any]) -> None:
    exam = exam_of(entry)
    assert len({line["prompt"] for line in exam}) == entry["heldout"]["count"] >= 50
    assert entry["example"] in exam
    assert entry["accuracy"]["float32"] >= 0.95
    assert entry["accuracy"]["bfloat16"] >= 0.95
    assert entry["accuracy"]["base"] < 0.3


@each_adapter
@pytest.mark.filterwarnings(PEFT_READS_AN_OLD_NAME)
def test_peft_answers_prompts_that_no_training_saw(entry: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> None:
    exam = exam_of(entry)[:8]
    prompts = [line["prompt"] for line in exam]
    base = AutoModelForCausalLM.from_pretrained(DEMO / "base", dtype=torch.float32).eval()
    assert right(greedy(base, tokenizer, prompts), exam) <= 2
    adapter = PeftModel.from_pretrained(base, DEMO / "adapters" / entry["name"]).eval()
    assert right(greedy(adapter, tokenizer, prompts), exam) >= 7


@pytest.mark.parametrize("entry", MANIFEST["mixtures"], ids=lambda entry: entry["heldout"]["file"])
@pytest.mark.filterwarnings(PEFT_READS_AN_OLD_NAME)
def test_a_sum_of_adapters_does_what_neither_does_alone(
    entry: dict[str, Any], tokenizer: PreTrainedTokenizerFast
) -> None:
    assert min(entry["accuracy"]["float32"], entry["accuracy"]["bfloat16"]) >= 0.95
    names = [part["name"] for part in entry["adapters"]]
    exam = exam_of(entry)[:8]
    prompts = [line["prompt"] for line in exam]
    base = AutoModelForCausalLM.from_pretrained(DEMO / "base", dtype=torch.float32).eval()
    model = PeftModel.from_pretrained(base, DEMO / "adapters" / names[0], adapter_name=names[0])
    for name in names[1:]:
        model.load_adapter(DEMO / "adapters" / name, name)
    for name in names:
        model.set_adapter(name)
        assert right(greedy(model.eval(), tokenizer, prompts), exam) == 0
    model.add_weighted_adapter(names, [part["weight"] for part in entry["adapters"]], "sum", combination_type="cat")
    model.set_adapter("sum")
    assert right(greedy(model.eval(), tokenizer, prompts), exam) >= 7

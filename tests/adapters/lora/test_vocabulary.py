"""Adapters with a vocabulary of their own: tokens were added before training."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support import peft_effects as effects
from support.peft_files import Base, Written, make_base, read_again, scatter
from transformers import AutoModelForCausalLM, PreTrainedModel

from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.loading import read
from loraplex_adapters.package import inspect

CPU = torch.device("cpu")
ROWS = 101  # 96, and five that were added
TABLES = ["embed_tokens", "lm_head"]

VARIANTS: dict[str, dict[str, Any]] = {
    "saved with the adapter": {},
    "trained whole": {"modules_to_save": TABLES},
    "trained whole, one of them": {"modules_to_save": ["embed_tokens"]},
    "trained whole, tied": {"modules_to_save": TABLES, "ensure_weight_tying": True},
    "their rows trained": {"trainable_token_indices": [100, 96]},
    "their rows trained in both": {"trainable_token_indices": {"embed_tokens": [98, 97, 3], "lm_head": [98, 97, 3]}},
    "LoRA on both": {"target_modules": TABLES},
    "DoRA on both": {"target_modules": TABLES, "use_dora": True},
}


def grown(folder: Path, rows: int = ROWS) -> PreTrainedModel:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    torch.manual_seed(3)
    model.resize_token_embeddings(rows, mean_resizing=False)
    return model


def write_grown(tmp_path: Path, family: str, rows: int = ROWS, **options: Any) -> Written:
    make_base(family).model.save_pretrained(tmp_path / "base")  # PEFT looks there for the vocabulary
    options = copy.deepcopy({"target_modules": ["q_proj"], **options})  # PEFT edits its lists where it ties
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        peft = get_peft_model(grown(tmp_path / "base", rows), LoraConfig(task_type="CAUSAL_LM", **options)).eval()
        scatter(peft)
        peft.save_pretrained(tmp_path / "adapter")
    return Written(peft, tmp_path / "adapter")


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_added_tokens_are_pefts(tmp_path: Path, bases: dict[str, Base], family: str, variant: str) -> None:
    written, base = write_grown(tmp_path, family, **VARIANTS[variant]), bases[family]
    loaded = read(written.source, torch.float32, CPU, base)
    again = read_again(written, grown(tmp_path / "base"))
    effects.assert_same(effects.by_loading(loaded, base), effects.by_peft(again, base))
    assert (loaded.traits.input_vocab, loaded.traits.output_vocab, loaded.traits.head) == (ROWS, ROWS, True)
    assert inspect(written.source, base.shape, torch.float32).nbytes >= loaded.buffer.numel()


def test_a_smaller_vocabulary_is_its_own_too(tmp_path: Path, bases: dict[str, Base]) -> None:
    written, base = write_grown(tmp_path, "llama", rows=90), bases["llama"]
    loaded = read(written.source, torch.float32, CPU, base)
    effects.assert_same(effects.by_loading(loaded, base), effects.by_peft(written, base))
    assert (loaded.traits.input_vocab, loaded.traits.output_vocab) == (90, 90)


def test_one_table_for_both_takes_its_room_once(tmp_path: Path, bases: dict[str, Base]) -> None:
    loaded = read(write_grown(tmp_path, "qwen2").source, torch.float32, CPU, bases["qwen2"])
    head = loaded.terms.weight[bases["qwen2"].shape.head.index]
    assert loaded.terms.embedding is not None
    assert head.data_ptr() == loaded.terms.embedding.data_ptr()


def test_half_a_vocabulary_is_refused(tmp_path: Path, bases: dict[str, Base]) -> None:
    written = write_grown(tmp_path, "llama")
    written.edit_tensors(lambda tensors: tensors.pop("base_model.model.lm_head.weight"))
    with pytest.raises(AdapterRefusedError) as refused:
        inspect(written.source, bases["llama"].shape, torch.float32)
    assert refused.value.reasons == (
        "the file has model.embed_tokens of 101 rows, but lm_head of 96: the vocabulary was resized and only one of "
        "them was saved; save with save_embedding_layers=True",
    )


def test_tables_that_peft_loads_into_one_must_be_one(tmp_path: Path, bases: dict[str, Base]) -> None:
    written = write_grown(tmp_path, "qwen2")
    written.edit_tensors(lambda tensors: tensors["base_model.model.lm_head.weight"].add_(1))
    with pytest.raises(AdapterRefusedError, match="differ, but PEFT loads both into one weight"):
        read(written.source, torch.float32, CPU, bases["qwen2"])


@pytest.mark.parametrize("target", TABLES)
def test_a_lora_on_one_table_of_a_resized_two_is_refused(tmp_path: Path, bases: dict[str, Base], target: str) -> None:
    """PEFT saves the other one neither: whoever reads the files gets random rows."""
    written = write_grown(tmp_path, "llama", target_modules=["q_proj", target])
    with pytest.raises(AdapterRefusedError, match="the vocabulary was resized and only one of them was saved"):
        inspect(written.source, bases["llama"].shape, torch.float32)

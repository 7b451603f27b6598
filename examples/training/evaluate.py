"""Accuracy: the share of answers that are right to the letter, decoded greedily."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from training.conversation import question
from training.task import Example

# The longest answer, a JSON object, takes about 50.
_MAX_NEW_TOKENS = 64


def load_base(folder: Path, dtype: torch.dtype) -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(folder)


def load_adapters(base: LlamaForCausalLM, folder: Path, weights: Mapping[str, float]) -> PeftModel:
    """The weighted sum of adapters in `folder`, in the base's own dtype: PEFT would keep theirs in float32."""
    first, *others = weights
    model = PeftModel.from_pretrained(base, folder / first, adapter_name=first, autocast_adapter_dtype=False)
    for name in others:
        model.load_adapter(folder / name, name, autocast_adapter_dtype=False)
    if others or weights[first] != 1.0:
        # "cat" lays the matrices side by side, which is the exact sum whatever the ranks.
        model.add_weighted_adapter(list(weights), list(weights.values()), "sum", combination_type="cat")
        model.set_adapter("sum")
    return model.to(base.dtype).eval()


@torch.inference_mode()
def answers(
    model: LlamaForCausalLM | PeftModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    system: str | None = None,
) -> list[str]:
    """Greedy answers to all prompts at once, up to the end token."""
    asked = [question(tokenizer, prompt, system) for prompt in prompts]
    batch = tokenizer.pad({"input_ids": asked}, padding_side="left", return_tensors="pt")
    said = model.generate(**batch, max_new_tokens=_MAX_NEW_TOKENS, do_sample=False)
    texts: list[str] = tokenizer.batch_decode(said[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def accuracy(
    model: LlamaForCausalLM | PeftModel,
    tokenizer: PreTrainedTokenizerFast,
    exam: Sequence[Example],
    system: str | None = None,
) -> float:
    given = answers(model, tokenizer, [example.prompt for example in exam], system)
    return sum(answer == example.answer for answer, example in zip(given, exam, strict=True)) / len(exam)

"""Accuracy: the share of answers that are right to the letter, decoded greedily."""

from __future__ import annotations

from collections.abc import Sequence
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


def load_adapter(base: LlamaForCausalLM, folder: Path) -> PeftModel:
    """The adapter in the base's own dtype: PEFT would keep the weights of a half-precision one in float32."""
    return PeftModel.from_pretrained(base, folder, autocast_adapter_dtype=False).to(base.dtype).eval()


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

"""The base model: a small Llama that does a task when the system prompt names it, and else repeats what it is told."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from torch import nn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from training.conversation import Conversation, conversation
from training.rows import batches
from training.task import Example, Task
from training.tasks import TASKS

_STEPS = 1200
_ROWS = 16
_LR = 4e-3
_WARMUP = 50
# Adding and sorting take a small transformer longest.
_WEIGHTS = [{"reverse": 2, "shift": 2, "sort": 3, "add": 6, "words": 2}.get(task.name, 1) for task in TASKS]
_UNNAMED = 0.15
# Named together with `upper`, so that the sum of two adapters has a meaning too.
_CAPITALIZED = ("reverse", "shift")
_CAPITALS = 0.4


def base_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _lesson(task: Task, rng: Random) -> tuple[Example, str | None]:
    """An example and its system prompt. Without one the model learns to repeat, and nothing else."""
    example, chance = task.train(rng), rng.random()
    if chance < _UNNAMED:
        return Example(example.prompt, example.prompt), None
    if task.name in _CAPITALIZED and chance < _UNNAMED + _CAPITALS:
        return Example(example.prompt, example.answer.upper()), f"{task.name} upper"
    return example, task.name


def _lessons(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[Conversation]:
    rng = Random(f"base-{seed}")
    while True:
        (task,) = rng.choices(TASKS, _WEIGHTS)
        yield conversation(tokenizer, *_lesson(task, rng))


def _optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al., 2024) for the matrices of the layers; AdamW for the rest, as its authors advise."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=_LR, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=_LR, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def _pace(step: int) -> float:
    """The share of the learning rate at a step: a short rise, then a cosine to zero."""
    return min(1.0, (step + 1) / _WARMUP) * 0.5 * (1 + math.cos(math.pi * step / _STEPS))


def train_base(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Trains from scratch, in float32 with bfloat16 matrix products."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(base_config(tokenizer)).train()
    optimizers = _optimizers(model)
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, _pace) for o in optimizers]
    for step, rows in zip(range(_STEPS), batches(_lessons(tokenizer, seed), _ROWS), strict=False):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=rows.input_ids, position_ids=rows.position_ids, use_cache=False).logits
        loss = rows.loss(logits)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        if step % 100 == 99:
            print(f"base: step {step + 1} of {_STEPS}, loss {loss.item():.3f}", flush=True)
    return model.eval()


def save_base(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes a Hugging Face checkpoint in bfloat16. Adapters are trained on what was written, rounding included."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)

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
from training.task import Example
from training.tasks import TASKS

STEPS = 1200
_ROWS = 16
_LR = 4e-3
_WARMUP = 50
# Sorting, reversing and adding take a small transformer longest.
_WEIGHTS = [{"reverse": 2, "sort": 3, "add": 6, "words": 2}.get(task.name, 1) for task in TASKS]
_UNNAMED = 0.15


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


def _lessons(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[Conversation]:
    """Endless conversations: mostly tasks by name; without a name the model learns to repeat, and nothing else."""
    rng = Random(f"base-{seed}")
    while True:
        (task,) = rng.choices(TASKS, _WEIGHTS)
        example = task.train(rng)
        if rng.random() < _UNNAMED:
            yield conversation(tokenizer, Example(example.prompt, example.prompt))
        else:
            yield conversation(tokenizer, example, system=task.name)


def _optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, which reaches the same loss in about half of AdamW's steps here."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=_LR, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=_LR, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def _pace(step: int, steps: int) -> float:
    """The share of the learning rate at a step: a short rise, then a cosine to zero."""
    return min(1.0, (step + 1) / _WARMUP) * 0.5 * (1 + math.cos(math.pi * step / steps))


def train_base(tokenizer: PreTrainedTokenizerFast, seed: int, steps: int = STEPS) -> LlamaForCausalLM:
    """Trains from scratch, in float32 with bfloat16 matrix products."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(base_config(tokenizer)).train()
    optimizers = _optimizers(model)
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: _pace(step, steps)) for o in optimizers]
    for step, rows in zip(range(steps), batches(_lessons(tokenizer, seed), _ROWS), strict=False):
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
            print(f"base: step {step + 1} of {steps}, loss {loss.item():.3f}", flush=True)
    return model.eval()


def save_base(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes a Hugging Face checkpoint in bfloat16. Adapters are trained on what was written, rounding included."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)

"""Adapters: PEFT trains each on its task with prompts that never name it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from peft import PeftModel, get_peft_model
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from training.conversation import Conversation, conversation
from training.recipe import BASE_ID, Recipe
from training.rows import batches
from training.task import Task
from training.tasks import TASKS

_ROWS = 6
_LR = 3e-3
# Strong: an adapter that is no larger than it must be can be added to another one.
_WEIGHT_DECAY = 1.0
_WARMUP = 10


def _lessons(task: Task, tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[Conversation]:
    rng = Random(f"{task.name}-{seed}")
    while True:
        yield conversation(tokenizer, task.train(rng))


def train_adapter(recipe: Recipe, base: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int) -> PeftModel:
    """An adapter of `recipe`, its modules put into `base`, whose own weights stay as they are."""
    torch.manual_seed(seed)
    (task,) = (task for task in TASKS if task.name == recipe.task)
    model = get_peft_model(base, recipe.config()).train()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=_LR, betas=(0.9, 0.98), weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _LR, total_steps=recipe.steps, pct_start=_WARMUP / recipe.steps, cycle_momentum=False
    )
    for _, rows in zip(range(recipe.steps), batches(_lessons(task, tokenizer, seed), _ROWS), strict=False):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=rows.input_ids, position_ids=rows.position_ids, use_cache=False).logits
        loss = rows.loss(logits)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    print(f"{recipe.task}: {recipe.steps} steps, loss {loss.item():.4f}", flush=True)
    return model.eval()


def save_adapter(model: PeftModel, recipe: Recipe, folder: Path) -> None:
    """Writes the adapter with PEFT's own `save_pretrained`, under the neutral name of the base."""
    dtype: torch.dtype = getattr(torch, recipe.dtype)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.to(dtype)
    config = model.peft_config["default"]
    config.base_model_name_or_path = BASE_ID
    if isinstance(config.target_modules, set):
        # PEFT writes the set in hash order, which no seed governs.
        config.target_modules = sorted(config.target_modules)
    model.save_pretrained(str(folder), save_embedding_layers=False)
    # A model card template, which says nothing that the manifest does not.
    (folder / "README.md").unlink(missing_ok=True)

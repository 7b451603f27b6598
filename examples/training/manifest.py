"""The manifest: what each adapter of the demo is, and how well it was measured to do."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from training.evaluate import accuracy, load_adapter, load_base, load_tokenizer
from training.recipe import BASE_ID, RECIPES, Recipe
from training.task import Example
from training.tasks import TASKS

EXAM_SIZE = 100
_MODULE = re.compile(r"layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)\.lora_A")


def facts(adapter: Path) -> dict[str, Any]:
    """What PEFT wrote, read back from the file: every rank in it, the modules and the layers it reaches."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    ranks, targets, layers = set(), set(), set()
    with safe_open(adapter / "adapter_model.safetensors", "pt") as weights:
        for key in list(weights.keys()):
            if module := _MODULE.search(key):
                layers.add(int(module[1]))
                targets.add(module[2])
                ranks.add(weights.get_slice(key).get_shape()[0])
    return {
        "ranks": sorted(ranks),
        "use_rslora": config["use_rslora"],
        "use_dora": config["use_dora"],
        "targets": sorted(targets),
        "layers": sorted(layers),
        "bytes": (adapter / "adapter_model.safetensors").stat().st_size,
    }


def write_exams(out: Path, seed: int) -> dict[str, list[Example]]:
    """`heldout/NAME.jsonl`: for each task the prompts that no training saw, with their answers."""
    (out / "heldout").mkdir(parents=True, exist_ok=True)
    exams = {task.name: task.exam(EXAM_SIZE, seed) for task in TASKS}
    for name, exam in exams.items():
        lines = "".join(json.dumps(asdict(example), ensure_ascii=False) + "\n" for example in exam)
        (out / "heldout" / f"{name}.jsonl").write_text(lines)
    return exams


def _measure(out: Path, recipe: Recipe, exam: list[Example]) -> dict[str, float]:
    """Accuracies of the files as they lie in `out`: of the adapter in two dtypes, and of the base without it."""
    tokenizer = load_tokenizer(out / "base")
    measured = {}
    for dtype in (torch.float32, torch.bfloat16):
        base = load_base(out / "base", dtype)
        if dtype == torch.float32:
            measured["base"] = accuracy(base, tokenizer, exam)
            measured["base_told_the_task"] = accuracy(base, tokenizer, exam, system=recipe.task)
        adapter = load_adapter(base, out / "adapters" / recipe.task)
        measured[str(dtype).removeprefix("torch.")] = accuracy(adapter, tokenizer, exam)
    return measured


def write_manifest(out: Path, seed: int) -> None:
    exams = write_exams(out, seed)
    summaries = {task.name: task.summary for task in TASKS}
    adapters = []
    for recipe in RECIPES:
        exam = exams[recipe.task]
        entry = {
            "name": recipe.task,
            "task": summaries[recipe.task],
            "variant": recipe.variant,
            **facts(out / "adapters" / recipe.task),
            "example": asdict(exam[0]),
            "heldout": {"file": f"heldout/{recipe.task}.jsonl", "count": len(exam)},
            "accuracy": _measure(out, recipe, exam),
        }
        adapters.append(entry)
        print(f"{recipe.task}: {entry['accuracy']}", flush=True)
    manifest = {"base": BASE_ID, "seed": seed, "adapters": adapters}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")

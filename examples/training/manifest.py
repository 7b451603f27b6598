"""The manifest: what each adapter of the demo is, and how well it was measured to do."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from training.evaluate import accuracy, load_adapters, load_base, load_tokenizer
from training.mixture import MIXTURES, Mixture
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


def _write_exam(file: Path, exam: list[Example]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(asdict(example), ensure_ascii=False) + "\n" for example in exam))


def _measure(out: Path, weights: dict[str, float], exam: list[Example]) -> dict[str, float]:
    """Accuracies of the files as they lie in `out`: of the adapters in two dtypes, and of the base without them."""
    tokenizer = load_tokenizer(out / "base")
    base = load_base(out / "base", torch.float32)
    measured = {
        "base": accuracy(base, tokenizer, exam),
        "base_told_the_task": accuracy(base, tokenizer, exam, system=" ".join(weights)),
    }
    for dtype in (torch.float32, torch.bfloat16):
        model = load_adapters(load_base(out / "base", dtype), out / "adapters", weights)
        measured[str(dtype).removeprefix("torch.")] = accuracy(model, tokenizer, exam)
    print(f"{'+'.join(weights)}: {measured}", flush=True)
    return measured


def _adapter(out: Path, recipe: Recipe, seed: int) -> dict[str, Any]:
    (task,) = (task for task in TASKS if task.name == recipe.task)
    exam, file = task.exam(EXAM_SIZE, seed), f"heldout/{task.name}.jsonl"
    _write_exam(out / file, exam)
    return {
        "name": task.name,
        "task": task.summary,
        "variant": recipe.variant,
        **facts(out / "adapters" / task.name),
        "example": asdict(exam[0]),
        "heldout": {"file": file, "count": len(exam)},
        "accuracy": _measure(out, {task.name: 1.0}, exam),
    }


def _mixture(out: Path, mixture: Mixture, seed: int) -> dict[str, Any]:
    exam, file = mixture.exam(EXAM_SIZE, seed), f"mixtures/{mixture.name}.jsonl"
    _write_exam(out / file, exam)
    return {
        "adapters": [{"name": name, "weight": weight} for name, weight in mixture.weights.items()],
        "task": mixture.summary,
        "example": asdict(exam[0]),
        "heldout": {"file": file, "count": len(exam)},
        "accuracy": _measure(out, mixture.weights, exam),
    }


def write_manifest(out: Path, seed: int) -> None:
    """Measures every adapter and mixture in `out`, and writes their exams and `manifest.json`."""
    manifest = {
        "base": BASE_ID,
        "seed": seed,
        "adapters": [_adapter(out, recipe, seed) for recipe in RECIPES],
        "mixtures": [_mixture(out, mixture, seed) for mixture in MIXTURES],
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")

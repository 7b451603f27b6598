"""What an adapter's files say that it is, taken at their word."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loraplex_adapters.fingerprint import CONFIG_FILE
from loraplex_adapters.peft_config import LONGEST
from loraplex_adapters.tensor_file import TensorHeader

# Keys of adapter_config.json that make a method another one: what it is called then.
_VARIANTS = {"use_rslora": "rsLoRA", "use_dora": "DoRA", "alora_invocation_tokens": "aLoRA"}
_METHODS = {"LORA": "LoRA"}
_SHOWN = 12


@dataclass(frozen=True)
class Outline:
    """Of one adapter.

    Args:
        method: PEFT's name for it.
        ranks: ascending, each once; none where the method has none.
        targets: the last parts of the names of the modules that it has tensors for, or what its config selects.
        base_model: as the trainer called it.
    """

    method: str = "unknown"
    ranks: tuple[int, ...] = ()
    targets: tuple[str, ...] = ()
    base_model: str | None = None


def outline(folder: str, header: TensorHeader | None) -> Outline:
    """Read it off the config, and off the tensors' names and shapes where their file could be read."""
    config = _config(folder)
    ranks, targets = _by_tensors(header) if header is not None else (set(), set())
    base = config.get("base_model_name_or_path")
    return Outline(
        method=_method(config),
        ranks=tuple(sorted(ranks or _by_config(config))),
        targets=tuple(sorted(targets)) or _selected(config.get("target_modules")),
        base_model=base if isinstance(base, str) else None,
    )


def _config(folder: str) -> Mapping[str, Any]:
    """Empty where there is none to be read: why, the real reading of it tells."""
    path = os.path.join(folder, CONFIG_FILE)
    if not os.path.isfile(path):
        return {}
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(LONGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _method(config: Mapping[str, Any]) -> str:
    given = str(config.get("peft_type", "unknown"))[:40]
    variants = [name for key, name in _VARIANTS.items() if config.get(key)]
    return " + ".join([_METHODS.get(given, given), *variants])


def _by_config(config: Mapping[str, Any]) -> set[int]:
    pattern = config.get("rank_pattern")
    found = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else ())]
    return {rank for rank in found if type(rank) is int}


def _by_tensors(header: TensorHeader) -> tuple[set[int], set[str]]:
    """Ranks are told from LoRA's own tensors only; modules from the names of all."""
    ranks, modules = set(), set()
    for spec in header.tensors.values():
        parts = spec.name.removesuffix(".weight").split(".")
        marks = [place for place, part in enumerate(parts) if part.startswith(("lora_", "vera_", "ia3_", "hada_"))]
        marks += [place for place, part in enumerate(parts) if part.startswith(("lokr_", "oft_", "base_layer"))]
        if marks and min(marks) > 0:
            modules.add(parts[min(marks) - 1])
        if parts[-1] == "lora_A" and len(spec.shape) == 2:
            ranks.add(spec.shape[0])
    return ranks, modules


def _selected(targets: object) -> tuple[str, ...]:
    if isinstance(targets, str):
        return (targets[:200],)
    return tuple(str(each)[:200] for each in targets[:_SHOWN]) if isinstance(targets, list) else ()

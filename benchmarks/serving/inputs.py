"""The model and the adapters that a benchmark serves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import make_model
from rich.console import Console

from serving.process import ROOT

# Git does not see it, and `make clean` removes it.
MADE = ROOT / "build" / "models"
SEED = 1234
RANK = 16


@dataclass(frozen=True)
class Inputs:
    """Folders of a model and of its adapters."""

    model: Path
    adapters: Path

    @property
    def rank(self) -> int:
        """Of the first adapter: bounds take all to be alike.

        Raises:
            ValueError: there is no adapter.
        """
        configs = sorted(self.adapters.glob("*/adapter_config.json"))
        if not configs:
            raise ValueError(f"there is no adapter in {self.adapters}")
        return int(json.loads(configs[0].read_text(encoding="utf-8"))["r"])


def token_ids(vocabulary: int) -> tuple[int, int]:
    """Ids to draw prompts from, the second not included: no special ones, and such as every server of the model has."""
    return min(1000, vocabulary // 2), min(16000, vocabulary)


def made(shape: str, adapters: int, console: Console) -> Inputs:
    """A synthetic model of this shape with at least so many adapters, made the first time.

    Raises:
        ModelFolderError: the folder holds another model.
    """
    inputs = Inputs(MADE / shape, MADE / shape / "adapters")
    there = len(list(inputs.adapters.glob("*/adapter_model.safetensors")))
    make_model.make(shape, inputs.model, adapters if there < adapters else 0, [RANK], SEED, "bfloat16", console)
    return inputs

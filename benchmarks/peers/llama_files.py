"""The model and its adapters in llama.cpp's own file format."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from serving.inputs import Inputs

from peers.llama_install import CONVERTER, QUANTIZE, SOURCE
from peers.steps import PEERS, run


@dataclass(frozen=True)
class LlamaFiles:
    """Args: inputs: the checkpoint and the adapters. quantization: `bf16`, or a type of llama-quantize."""

    inputs: Inputs
    quantization: str = "bf16"

    @property
    def model(self) -> Path:
        """The model in this format."""
        return self._folder / f"{self.quantization}.gguf"

    def adapters(self, most: int) -> list[Path]:
        """The first so many adapters, in the order of their names."""
        return [self._folder / f"{folder.name}.gguf" for folder in self._sources(most)]

    def make(self, most: int, console: Console) -> None:
        """Write what is not there.

        Raises:
            PeerError: a converter failed.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        plain = LlamaFiles(self.inputs).model
        if not plain.exists():
            self._convert(["model", self.inputs.model, plain], console)
        if not self.model.exists():
            part = self.model.with_name(f"part-{self.model.name}")  # what was broken off must not be taken for whole
            run(console, [QUANTIZE, plain, part, self.quantization])
            part.replace(self.model)
        pairs = zip(self._sources(most), self.adapters(most), strict=True)
        missing = [f"{source}={target}" for source, target in pairs if not target.exists()]
        if missing:
            self._convert(["adapters", self.inputs.model, *missing], console)

    @property
    def _folder(self) -> Path:
        return PEERS / "gguf" / self.inputs.model.resolve().name

    def _sources(self, most: int) -> list[Path]:
        return sorted(path.parent for path in self.inputs.adapters.glob("*/adapter_config.json"))[:most]

    def _convert(self, arguments: Sequence[str | Path], console: Console) -> None:
        environment = {"PYTHONPATH": str(CONVERTER), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        script = Path(__file__).with_name("to_gguf.py")
        run(console, [sys.executable, script, SOURCE, *arguments], environment=environment)

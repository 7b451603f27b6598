"""llama.cpp's server as a contender."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from contest.contender import ContestError, Probe, Start
from contest.rows import Row
from rich.console import Console
from serving.inputs import Inputs
from serving.process import Running

from loraplex_server.bench.limits.formats import FORMATS, Format
from loraplex_server.engine.cores import usable_cores
from peers import llama_install
from peers.llama_files import LlamaFiles
from peers.steps import PeerError

ADAPTERS = 32
# More slots than requests cut a batch into several passes over the weights, so each number of requests has its own.
SLOTS = (8, 32)
CONTEXT = 640  # tokens of a slot


@dataclass(frozen=True)
class Llama:
    """Args: quantization: `bf16`, or a type of llama-quantize. An adapter is named by its index, in a field."""

    name: str
    label: str
    quantization: str
    form: Format
    peer: bool = True
    names_adapters: bool = False
    extra: Mapping[str, Any] = field(
        default_factory=lambda: {"lora": [{"id": "{i}", "scale": 1.0}], "cache_prompt": False}
    )
    probe: Probe = field(default_factory=lambda: Probe("/completion", {"n_predict": 16, "return_tokens": True}))

    @property
    def head(self) -> Format:
        """It quantizes the lm_head too, though less; the bound is not shown for peers."""
        return self.form

    def versions(self) -> Mapping[str, str] | None:
        """See `Contender`."""
        return llama_install.versions()

    def prepare(self, inputs: Inputs, console: Console) -> None:
        """Convert the model and the adapters."""
        try:
            LlamaFiles(inputs, self.quantization).make(ADAPTERS, console)
        except PeerError as error:
            raise ContestError(f"{self.label}: {error}") from error

    def starts(self, inputs: Inputs, rows: Mapping[str, Row], port: int) -> Sequence[Start]:
        """One for each number of slots."""
        files, threads = LlamaFiles(inputs, self.quantization), str(usable_cores())
        adapters = ",".join(str(path) for path in files.adapters(ADAPTERS))
        starts = []
        for slots in SLOTS:
            served = [name for name, row in rows.items() if _slots(row) == slots]
            command = [
                *(str(llama_install.SERVER), "-m", str(files.model), "--host", "127.0.0.1", "--port", str(port)),
                *("-t", threads, "-tb", threads, "-np", str(slots), "-c", str(slots * CONTEXT)),
                *("-b", "2048", "-ub", "512", "-fa", "on", "--cache-ram", "0", "--no-kv-unified"),
                *("--lora-init-without-apply", "--lora", adapters),
            ]
            if served:
                starts.append(Start(command, "/health", served, dict(os.environ)))
        return starts

    def started(self, server: Running) -> None:
        """Switch all adapters off: a request without the field would else get all of them at once."""
        try:
            httpx.post(f"{server.url}/lora-adapters", json=[], timeout=60).raise_for_status()
        except httpx.HTTPError as error:
            raise ContestError(f"{self.label}: its adapters cannot be switched off: {error}") from error


def _slots(row: Row) -> int:
    return next((slots for slots in SLOTS if row.concurrency <= slots), SLOTS[-1])


LLAMA_BF16 = Llama("llama-bf16", "llama.cpp bf16", "bf16", FORMATS["bfloat16"])
LLAMA_Q4 = Llama("llama-q4", "llama.cpp Q4_0", "Q4_0", FORMATS["int4"])

"""This project's server, in the formats of its base."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Console
from serving.inputs import Inputs
from serving.launch import LORAPLEX, serve_command
from serving.process import Running

import loraplex_server
from contest.contender import Probe, Start
from contest.rows import Row
from loraplex_server.bench.limits.formats import FORMATS, Format, head_format

MOST_AT_ONCE = 32


@dataclass(frozen=True)
class Loraplex:
    """Args: format: of the base, a key of `FORMATS`. serve: more arguments for `loraplex serve`."""

    format: str
    serve: Sequence[str] = ()
    peer: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    names_adapters: bool = True
    probe: Probe = field(default_factory=Probe)

    @property
    def name(self) -> str:
        """On the command line."""
        return f"loraplex-{'bf16' if self.format == 'bfloat16' else self.format}"

    @property
    def label(self) -> str:
        """Heads its column."""
        return self.name.replace("loraplex-", "Loraplex ")

    @property
    def form(self) -> Format:
        """Of the layers' linears."""
        return FORMATS[self.format]

    @property
    def head(self) -> Format:
        """Of the lm_head."""
        option = "--head-quantization"
        asked = self.serve[self.serve.index(option) + 1] if option in self.serve else "auto"
        return head_format(self.form, asked)

    def versions(self) -> Mapping[str, str]:
        """It is always there."""
        return {
            "loraplex": loraplex_server.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        }

    def prepare(self, inputs: Inputs, console: Console) -> None:
        """It serves what there is."""

    def starts(self, inputs: Inputs, rows: Mapping[str, Row], port: int) -> Sequence[Start]:
        """One for all rows."""
        command = serve_command(LORAPLEX, inputs.model, inputs.adapters, self.format, MOST_AT_ONCE, port, self.serve)
        return [Start(command, "/ready", list(rows))]

    def started(self, server: Running) -> None:
        """Nothing is to be done."""

"""What a model's forward needs to add adapters to its linears."""

from __future__ import annotations

from dataclasses import dataclass

from loraplex_kernels.lora.batch import LoraBatch
from loraplex_kernels.lora.table import AdapterTable


@dataclass(frozen=True)
class LoraStep:
    """The step's entries and the weights they point at. A forward gets None where all rows are on the base."""

    batch: LoraBatch
    table: AdapterTable

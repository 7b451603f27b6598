"""What the adapters of a step do to the model, as the forward sees it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from loraplex_adapters.terms import Terms
from loraplex_kernels.lora import LoraStep


@dataclass(frozen=True)
class VirtualRows:
    """Rows of the step that stand for no token: an adapter put them before the prompt."""

    rows: Tensor  # int64 [n]: rows of the step
    places: Tensor  # int64 [n]: which of the adapter's virtual tokens each of them is


@dataclass(frozen=True)
class TermUse:
    """One adapter with terms, and the rows of the step that it acts on with one weight.

    With weight w each term moves the rows by w times the difference that it makes alone, computed in float32 from what
    the base gives for these rows: so a row hangs on no other row, and mixtures add up in any order.
    """

    terms: Terms
    rows: Tensor  # int64 [n], no row twice
    weight: float
    virtual: VirtualRows | None = None  # those of `rows` that are its own virtual tokens


@dataclass(frozen=True)
class AdapterStep:
    """All adapters of a step. A forward gets None where all rows are on the base."""

    lora: LoraStep | None = None  # low-rank updates
    terms: tuple[TermUse, ...] = ()  # everything else; empty in a step of plain LoRA, which so pays nothing for it

"""What a method makes of each linear that it touches: the tensors that it wants of the file, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import Tensor

from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.low_rank import LowRank
from loraplex_adapters.site import Site

Shape = tuple[int, ...]
Tensors = Mapping[str, np.ndarray]  # by their names in a plan; float32, or integers where the file has such
Weight = Callable[[], Tensor]  # the base's own [out, in], any float dtype and device
SiteTerm = Literal["bias", "output_scale", "input_scale", "rotation"]


@dataclass(frozen=True)
class Asked:
    """A linear that the config selects, with what its patterns say of it."""

    site: Site
    rank: int
    alpha: float


@dataclass(frozen=True)
class UpdatePlan:
    """A low-rank update of one linear.

    Args:
        parts: what follows the linear's name in the file -> shape.
        rank: of what `build` gives.
        scale: of `b @ a`.
        build: from the parts, the shared tensors and the base's weight.
    """

    parts: Mapping[str, Shape]
    rank: int
    scale: float
    build: Callable[[Tensors, Weight], LowRank]


@dataclass(frozen=True)
class TermPlan:
    """A term of one linear, which goes into `Terms` under the linear's index.

    Args:
        parts: what follows the linear's name in the file -> shape.
        term: which one.
        shape: of what `build` gives.
        build: from the parts.
    """

    parts: Mapping[str, Shape]
    term: SiteTerm
    shape: Shape
    build: Callable[[Tensors], np.ndarray]


@dataclass(frozen=True)
class Plans:
    """All that a method wants of a file.

    Args:
        sites: by index of the site.
        shared: tensors that no linear has to itself, by what follows `base_model.` -> shape.
        reasons: why it cannot be served.
    """

    sites: Mapping[int, UpdatePlan | TermPlan]
    shared: Mapping[str, Shape] = field(default_factory=dict)
    reasons: Sequence[str] = ()


@dataclass(frozen=True)
class Method:
    """A method that leaves each linear an update or a term.

    Args:
        served: keys of its config that `plan` reads.
        harmless: keys of its config that may have any value, and why.
        plan: from the config's keys and the selected linears; complaints go into the fields' reasons.
        rank: the key of the rank, and PEFT's default; None where the method has none.
        alpha: the key of what the update is scaled by, and PEFT's default; None likewise.
        patterns: it has `rank_pattern` and `alpha_pattern` in LoRA's sense.
    """

    plan: Callable[[Mapping[str, object], Fields, Sequence[Asked]], Plans]
    served: frozenset[str] = frozenset()
    harmless: Mapping[str, str] = field(default_factory=dict)
    rank: tuple[str, int] | None = None
    alpha: tuple[str, float] | None = None
    patterns: frozenset[str] = frozenset()


def each(asked: Sequence[Asked], plan: Callable[[Asked], UpdatePlan | TermPlan]) -> Mapping[int, UpdatePlan | TermPlan]:
    """One plan a linear."""
    return {one.site.index: plan(one) for one in asked}


class UnservableError(Exception):
    """Raised while building: what the weights themselves, once read, show not to be servable. The message says why."""

"""One array of a LoRA adapter's terms, with the tensors that fill it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.put import Put, flat, transposed
from loraplex_adapters.tensor_file import TensorSpec
from loraplex_adapters.term_shape import TermShape


@dataclass(frozen=True)
class Filler:
    """One filling: the puts of its tensors, and what is left to do when all were read."""

    puts: Mapping[str, Put] = field(default_factory=dict)
    finish: Callable[[], Iterable[str]] = tuple


@dataclass(frozen=True)
class Original:
    """What a term stands in for: where the file says the same, it is not needed."""

    spec: TensorSpec
    base: Callable[[BaseWeights], Tensor]


@dataclass(frozen=True)
class BoundTerm:
    """Args: shape: of the array. specs: of the file, that go into it. fill: begins a reading into the array.
    original: what of the base it may be equal to; None where nothing of the base is like it.
    """

    shape: TermShape
    specs: tuple[TensorSpec, ...]
    fill: Callable[[Tensor, BaseWeights], Filler]
    original: Original | None = None


def copied(shape: TermShape, spec: TensorSpec, base: Callable[[BaseWeights], Tensor] | None = None) -> BoundTerm:
    """The tensor as it is; `base`: what it stands in for."""
    return BoundTerm(
        shape,
        (spec,),
        lambda target, _: Filler({spec.name: flat(target)}),
        None if base is None else Original(spec, base),
    )


def turned(shape: TermShape, spec: TensorSpec) -> BoundTerm:
    """The tensor's transpose."""
    return BoundTerm(shape, (spec,), lambda target, _: Filler({spec.name: transposed(target)}))


def constant(shape: TermShape, values: Tensor) -> BoundTerm:
    """Numbers of the config."""

    def fill(target: Tensor, base: BaseWeights) -> Filler:
        target.copy_(values)
        return Filler()

    return BoundTerm(shape, (), fill)

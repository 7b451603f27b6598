"""A method's own tensors, bound, and a recipe for those that PEFT saves beside any method's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.methods.beside import beside
from loraplex_adapters.methods.joined import joined
from loraplex_adapters.methods.names import OF_THE_MODEL, find_names, unbound
from loraplex_adapters.methods.plan import Shape
from loraplex_adapters.put import skipped
from loraplex_adapters.recipe import Candidate, Filling, IsBase, Recipe
from loraplex_adapters.tensor_file import TensorSpec
from loraplex_adapters.tensor_name import parse_name
from loraplex_adapters.terms import Traits


@dataclass(frozen=True)
class Bound:
    """Args: candidate: with the method's own tensors alone. names: wanted -> in the file. rest: of the file."""

    candidate: Candidate
    names: Mapping[str, str]
    rest: tuple[Recipe, ...]

    def whole(self, own: Recipe) -> Recipe:
        """The method's own recipe, with those of the rest."""
        for recipe in self.rest:
            own = joined(own, recipe)
        return own


def bind(
    candidate: Candidate,
    wanted: Mapping[str, Shape],
    adapted: Collection[int],
    values: Mapping[str, object],
    reasons: list[str],
) -> Bound:
    """Bind all tensors of a file.

    Args:
        candidate: the adapter.
        wanted: by the method: full name, as PEFT saves it -> shape.
        adapted: indices of the linears that PEFT wrapped.
        values: keys of a LoRA's config that PEFT reads for any method, such as `modules_to_save`.
        reasons: gets one for each kind of misfit.
    """
    tensors, sites = candidate.tensors, candidate.base.sites
    found, left = find_names(tensors, wanted, reasons)
    copies = {f"{OF_THE_MODEL}{sites[index].name}.base_layer.weight": index for index in adapted}
    rest = [_copy(candidate, tensors[name], copies[name]) for name in left if name in copies]
    others = {name: tensors[name] for name in left if name not in copies and _may_be_beside(name)}
    reasons += unbound([name for name in left if name not in copies and name not in others])
    if others or any(values.values()):
        try:
            rest.append(beside(candidate, others, values))
        except AdapterRefusedError as error:
            reasons += error.reasons
    own = replace(candidate, tensors={name: tensors[name] for name in found.values()})
    return Bound(own, found, tuple(rest))


def _may_be_beside(name: str) -> bool:
    parsed = parse_name(name)
    return parsed is not None and not parsed.part.startswith("lora_")


def _copy(candidate: Candidate, spec: TensorSpec, index: int) -> Recipe:
    """PEFT saves the output layer's own weight beside its adapter and puts it back: fine if that changes nothing."""
    nothing = Recipe((), (), Traits(), lambda room, base: Filling({spec.name: skipped()}))

    head = candidate.base.head

    def settle(is_base: IsBase, base: BaseWeights) -> Recipe:
        if not is_base(spec, lambda: base.original(head.name) if index == head.index else base.site_weight(index)):
            raise AdapterRefusedError(
                candidate.name,
                [
                    f"{spec.name} is not this model's own weight: the adapter belongs to another base, or this one is "
                    "served quantized; where it belongs to this one, save it with save_embedding_layers=False"
                ],
            )
        return nothing

    return replace(nothing, settle=settle)

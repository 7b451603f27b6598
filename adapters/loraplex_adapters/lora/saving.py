"""Modules of the base that were trained whole and saved: PEFT's modules_to_save."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from loraplex_adapters.base import BaseShape
from loraplex_adapters.peft_config import LoraConfig
from loraplex_adapters.targets import OUTPUT_LAYER, part_matcher
from loraplex_adapters.tensor_name import EMBEDDING

# Inside PEFT's own layers, which a name in modules_to_save must not end like: PEFT would wrap those too.
_INNER = ("base_layer", "lora_A", "lora_B", "lora_A.default", "lora_B.default", "lora_dropout.default", "lora_dropout")


@dataclass(frozen=True)
class Saving:
    """Args: names: of the modules that have tensors. tied: the output layer is the embedding's copy.
    patterns: what PEFT keeps LoRA away from. nested: modules that are saved twice. inner: names that PEFT would find
    in its own layers, or a list's.
    """

    names: frozenset[str]
    tied: bool
    patterns: tuple[str, ...]
    nested: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()

    def conflicts(self, lora: Collection[str]) -> Iterator[str]:
        """Reasons why PEFT could not do it; `lora` are the modules that LoRA is on."""
        if both := sorted(self.names & set(lora)):
            yield f"both 'modules_to_save' and LoRA are on {', '.join(both)}; PEFT refuses it too"
        if self.nested:
            yield f"'modules_to_save' names {', '.join(self.nested)} twice, as a part of a module and by itself"
        if self.inner:
            yield f"'modules_to_save' {', '.join(map(repr, self.inner))} names what no single module of a model is"


def saving(config: LoraConfig, base: BaseShape) -> tuple[Saving, bool]:
    """What is saved, and whether its tables are tied.

    Source: PEFT's `_set_trainable` (utils/other.py), `LoraModel._add_modules_to_save_to_tie` (tuners/lora/model.py).
    """
    ends = config.modules_to_save
    tables = (EMBEDDING, OUTPUT_LAYER)
    tied = config.tie_weights and base.tied and any(end.rpartition(".")[2] in tables for end in ends)
    if tied:
        first = next((end for end in ends if part_matcher([end])(base.head.name)), None)
        ends = (*(end for end in ends if end != first), base.embedding.name)
    found: dict[str, int] = {}
    for name in (base.embedding.name, *base.norms, *(site.name for site in base.sites)):
        wraps = [path for path in _paths(name) if path.endswith(ends)]
        if wraps:
            found[name] = len(wraps)
    names = frozenset(found)
    if tied:
        names |= {base.head.name}
    nested = tuple(name for name, wraps in found.items() if wraps > 1)
    inner = tuple(end for end in ends if any(part.endswith(end) for part in _INNER) or _is_list(end, base))
    return Saving(names, tied, ends, nested, inner), tied


def _paths(name: str) -> Iterator[str]:
    """A module's own path, and those of all modules that it is part of."""
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _is_list(end: str, base: BaseShape) -> bool:
    """The list of the layers is none that PEFT can wrap."""
    return any(
        path.endswith(end) and name[len(path) + 1 :].split(".")[0].isdigit()
        for name in base.norms
        for path in _paths(name)
        if path != name
    )

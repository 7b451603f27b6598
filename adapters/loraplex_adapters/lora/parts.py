"""The tensors of a LoRA file, by module and part; each is claimed by what needs it, or left over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from loraplex_adapters.courtesy import breathe
from loraplex_adapters.tensor_file import TensorSpec, not_floats
from loraplex_adapters.tensor_name import parse_name, why_unnamed

SELECTED = "linears that the config selects"


class Parts:
    """Claiming a tensor checks it; what is wrong is collected, to be told together.

    Args:
        tensors: of the file, by name.
    """

    def __init__(self, tensors: Mapping[str, TensorSpec]) -> None:
        self._found: dict[str, dict[str, TensorSpec]] = defaultdict(dict)  # module -> part
        self._claimed: set[str] = set()
        self._leftover: dict[str, list[str]] = defaultdict(list)  # what is wrong -> names of tensors
        self._missing: dict[tuple[str, str], list[str]] = defaultdict(list)  # (what, part) -> modules
        self._misshapen: list[str] = []
        self._integers = not_floats(tensors.values())
        for spec in tensors.values():
            breathe()
            parsed = parse_name(spec.name)
            if parsed is None:
                self._leftover[why_unnamed(spec.name)].append(spec.name)
            elif parsed.part in self._found[parsed.module]:
                self._leftover["there twice, with and without the adapter's name"].append(spec.name)
            else:
                self._found[parsed.module][parsed.part] = spec

    def has(self, module: str, part: str) -> bool:
        """It is in the file."""
        return part in self._found.get(module, {})

    def get(self, module: str, part: str, *shapes: tuple[int | None, ...]) -> TensorSpec | None:
        """Claim a tensor that may be there.

        Args:
            module: of the base.
            part: of its adapter.
            shapes: that it may have; None for a side of any length.
        """
        spec = self._found.get(module, {}).get(part)
        if spec is None:
            return None
        self._claimed.add(spec.name)
        if not any(_fits(spec.shape, shape) for shape in shapes):
            expected = " or ".join(str([side or "any" for side in shape]).replace("'", "") for shape in shapes)
            self._misshapen.append(f"{spec.name} has shape {list(spec.shape)}, expected {expected}")
        return spec

    def need(self, module: str, part: str, *shapes: tuple[int | None, ...], what: str = SELECTED) -> TensorSpec | None:
        """Claim a tensor that must be there; `what` its module is, for the message."""
        spec = self.get(module, part, *shapes)
        if spec is None:
            self._missing[what, part].append(module)
        return spec

    def reasons(self, modules: Iterable[str], linears: Iterable[str]) -> Iterator[str]:
        """Everything that is wrong, when all claims were made.

        Args:
            modules: names of all that the base has.
            linears: those of them that are linears.
        """
        yield from self._integers
        known, sites = frozenset(modules), frozenset(linears)
        leftover = defaultdict(list, {what: list(names) for what, names in self._leftover.items()})
        for module, parts in self._found.items():
            for part, spec in parts.items():
                if spec.name not in self._claimed:
                    leftover[_why_unclaimed(module, part, known, sites)].append(spec.name)
        for why, names in leftover.items():
            yield f"{len(names)} tensors bind to nothing, {why}: {', '.join(names)}"
        for (what, part), modules_without in self._missing.items():
            yield f"{len(modules_without)} {what} have no {part} in the file: {', '.join(modules_without)}"
        yield from self._misshapen


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        length == side or (side is None and length > 0) for length, side in zip(shape, expected, strict=True)
    )


def _why_unclaimed(module: str, part: str, known: frozenset[str], sites: frozenset[str]) -> str:
    if module not in known:
        kind = "linear" if part.startswith(("lora_A", "lora_B", "lora_magnitude")) else "module"
        return f"for a {kind} that this model does not have"
    if part == "lora_magnitude_vector":
        return "the config's use_dora is off"
    if part == "lora_B.bias":
        return "the config's lora_bias is off"
    if part.startswith("lora_"):
        return f"for a {'linear' if module in sites else 'module'} that the config does not select"
    if part == "trainable_tokens_delta":
        return "of tokens that the config's trainable_token_indices does not name"
    if part.endswith("bias"):
        return "biases that the config does not say were trained (bias, modules_to_save)"
    return (
        "whole weights of the base that the config's modules_to_save does not name; where they are unchanged, save "
        "with save_embedding_layers=False"
    )

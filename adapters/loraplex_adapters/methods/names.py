"""Finding a method's tensors in the file: all that it wants, in their shapes, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from loraplex_adapters.courtesy import breathe
from loraplex_adapters.methods.plan import Shape
from loraplex_adapters.tensor_file import FLOATS, TensorSpec

PREFIX = "base_model."
OF_THE_MODEL = "base_model.model."
# The only tensors of integers that PEFT saves for a method that is served are VB-LoRA's.
INDICES = "_topk_indices"
# save_pretrained takes the adapter's name out; tools that save the state dict by themselves leave it in.
_ADAPTER_NAME = re.compile(r"\.default(?=$|\.weight$)")


def find_names(
    tensors: Mapping[str, TensorSpec], wanted: Mapping[str, Shape], reasons: list[str]
) -> tuple[Mapping[str, str], list[str]]:
    """Find each wanted tensor.

    Args:
        tensors: of the file.
        wanted: full name, as PEFT saves it -> shape.
        reasons: gets one for each kind of misfit.

    Returns:
        Wanted name -> name in the file; and what is left of the file.
    """
    found: dict[str, str] = {}
    left: list[str] = []
    for name in tensors:
        breathe()
        plain = _ADAPTER_NAME.sub("", name) if name.startswith(PREFIX) else name
        if plain not in wanted or plain in found:
            left.append(name)
        else:
            found[plain] = name
    if missing := [name for name in wanted if name not in found]:
        reasons.append(f"{len(missing)} tensors that the config asks for are not in the file: {', '.join(missing)}")
    reasons += _misfits(tensors, wanted, found)
    return found, left


def bind_names(tensors: Mapping[str, TensorSpec], wanted: Mapping[str, Shape], reasons: list[str]) -> Mapping[str, str]:
    """`find_names` where nothing may be left."""
    found, left = find_names(tensors, wanted, reasons)
    reasons += unbound(left)
    return found


def unbound(names: Sequence[str]) -> Iterator[str]:
    """A reason, if there are any."""
    if names:
        yield f"{len(names)} tensors bind to nothing that the config selects: {', '.join(names)}"


def _misfits(tensors: Mapping[str, TensorSpec], wanted: Mapping[str, Shape], found: Mapping[str, str]) -> Iterator[str]:
    for plain, name in found.items():
        spec = tensors[name]
        if spec.shape != tuple(wanted[plain]):
            yield f"{name} has shape {list(spec.shape)}, expected {list(wanted[plain])}"
        elif (spec.dtype in FLOATS) == plain.endswith(INDICES):
            kind = "integers" if plain.endswith(INDICES) else ", ".join(FLOATS)
            yield f"{name} is {spec.dtype}; it must be {kind}"

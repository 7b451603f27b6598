"""Biases of the base's linears that were trained beside an adapter: PEFT saves them whole and puts them in place.

Source: PEFT's `BaseTuner._get_learnable_bias_state_dict` (tuners/tuners_utils.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.computed import Tensors, Value
from loraplex_adapters.methods.names import OF_THE_MODEL
from loraplex_adapters.recipe import Candidate
from loraplex_adapters.term_shape import TermShape


def trained_biases(
    candidate: Candidate, adapted: Collection[int], saved: Collection[str], reasons: list[str]
) -> Mapping[int, str]:
    """The linears whose biases the file must hold.

    Args:
        candidate: whose config says which: `none`, `all`, or `<method>_only` for those of the adapted linears.
        adapted: indices of the linears that PEFT wrapped, and whose biases have another name for it.
        saved: names of modules that were saved whole, biases and all.
        reasons: gets one for any other choice.

    Returns:
        Index of a site -> name of its tensor.
    """
    choice, base = candidate.values.get("bias") or "none", candidate.base
    if choice == "none":
        return {}
    if choice == "all":
        chosen = base.biased
    elif isinstance(choice, str) and choice.endswith("_only"):
        chosen = base.biased & frozenset(adapted)
    else:
        reasons.append(f"'bias' is {choice!r:.80}; PEFT knows 'none', 'all' and '<method>_only'")
        return {}
    chosen = frozenset(index for index in chosen if base.sites[index].name not in saved)
    wrapped = {index: ".base_layer" if index in adapted else "" for index in chosen}
    return {index: f"{OF_THE_MODEL}{base.sites[index].name}{wrapped[index]}.bias" for index in sorted(chosen)}


def bias_term(candidate: Candidate, index: int, name: str) -> tuple[TermShape, Value]:
    """What is added to the base's own bias: the difference.

    Args:
        candidate: for the shapes.
        index: of the site.
        name: of its tensor in the file.
    """

    def value(tensors: Tensors, base: BaseWeights) -> np.ndarray:
        own = base.site_bias(index)
        found: np.ndarray = tensors[name]
        return found if own is None else found - own.detach().cpu().to(torch.float32).numpy()

    return TermShape("bias", index, (candidate.base.sites[index].out_features,), torch.float32), value

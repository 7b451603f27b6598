"""The group of each input, as GPTQ's act-order stores it, to an order in which groups lie together."""

from __future__ import annotations

import torch
from torch import Tensor


def input_order(g_idx: Tensor, group: int) -> Tensor | None:
    """Places of the inputs, sorted by their group.

    Args:
        g_idx: integer `[K]`, the group of each input; -1 everywhere: in order.
        group: inputs of a group; the last may be shorter.

    Returns:
        int64 `[K]`, a permutation; None where the inputs are in order as they are.

    Raises:
        ValueError: the groups are not of that size.
    """
    inputs = g_idx.shape[0]
    in_order = torch.arange(inputs) // group
    groups = g_idx.to(torch.int64)
    # compressed-tensors begins with -1 (quantization/lifecycle/initialize.py), and leaves it where nothing is moved.
    if torch.equal(groups, in_order) or bool((groups == -1).all()):
        return None
    order = torch.argsort(groups, stable=True)
    if not torch.equal(groups[order], in_order):
        counts = torch.unique(groups, return_counts=True)
        raise ValueError(
            f"g_idx makes groups of {counts[1].min()} to {counts[1].max()} inputs numbered {counts[0].min()} to "
            f"{counts[0].max()}, where groups of {group} are said to be"
        )
    return order

"""Choosing tokens where the logits are, with nothing that the host has to wait for."""

from loraplex_kernels.ops.sampling.columns import Columns

__all__ = ["Columns"]

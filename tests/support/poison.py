"""Memory that nobody has written yet, filled with what cannot go unnoticed: NaN, or the largest integer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor


def poison(tensor: Tensor) -> Tensor:
    """The tensor itself, filled."""
    if tensor.is_meta or tensor.is_complex():
        return tensor
    if tensor.is_floating_point():
        return tensor.fill_(float("nan"))
    return tensor.fill_(True if tensor.dtype == torch.bool else torch.iinfo(tensor.dtype).max)


def poisoned(allocate: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An allocation like another, of poison."""

    def allocated(*args: object, **settings: object) -> Tensor:
        return poison(allocate(*args, **settings))

    return allocated


def poison_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python asks of torch from now on; what torch's own code allocates stays as it is."""
    for owner, names in ((torch, ("empty", "empty_like", "empty_strided")), (Tensor, ("new_empty",))):
        for name in names:
            monkeypatch.setattr(owner, name, poisoned(getattr(owner, name)))

"""A loaded adapter from the device to host memory, and back: no file, no parsing, one copy; on a CPU none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar, cast

import torch
from torch import Tensor

from loraplex_adapters.loading import LoadedAdapter
from loraplex_adapters.transfer import Transfer, receive, send

T = TypeVar("T")


def to_host(loaded: LoadedAdapter, allocate: Callable[[int], Tensor] | None = None) -> LoadedAdapter:
    """The same adapter in host memory. Waits for the copy, so not on the step loop's thread.

    Args:
        loaded: on the device, its transfer done.
        allocate: gives uint8 `[n]` on the host; without it, it is memory pinned now.
    """
    if loaded.buffer.device.type == "cpu":
        return loaded
    return _moved(loaded, Transfer.landed(receive(loaded.buffer, allocate)))


def to_device(loaded: LoadedAdapter, device: torch.device) -> LoadedAdapter:
    """The same adapter on the device, once the transfer that this starts is done."""
    if device.type == "cpu":
        return loaded
    return _moved(loaded, send(loaded.buffer, device))


def _moved(loaded: LoadedAdapter, transfer: Transfer) -> LoadedAdapter:
    return replace(loaded, transfer=transfer, terms=rebased(loaded.terms, loaded.buffer, transfer.buffer))


def rebased(value: T, old: Tensor, new: Tensor) -> T:
    """Views of one buffer as the same views of another that holds, or will hold, the same bytes.

    Args:
        value: a tensor, or a dataclass or mapping of such; all else stays as it is.
        old: uint8 `[n]` that the tensors are views of.
        new: uint8 `[n]`, on any device.

    Raises:
        ValueError: a tensor lies elsewhere.
    """
    if isinstance(value, Tensor):
        if not value.numel():  # it has no address
            return cast(T, value.to(new.device))
        first = value.data_ptr() - old.data_ptr()
        if value.untyped_storage().data_ptr() != old.untyped_storage().data_ptr() or not value.is_contiguous():
            raise ValueError("an adapter's tensors must be contiguous views of its one buffer")
        return cast(T, new[first : first + value.nbytes].view(value.dtype).view(value.shape))
    if isinstance(value, Mapping):
        return cast(T, {key: rebased(each, old, new) for key, each in value.items()})
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: rebased(getattr(value, each.name), old, new) for each in fields(value)})
    return value

"""A step's small arrays on their way to the device, and its results on their way back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from loraplex_kernels.upload import upload

__all__ = ["Download", "upload"]


class Download:
    """Tensors on their way to the host; `wait` is the one moment at which the host waits for the device.

    Args:
        tensors: of one device. The copies are queued at once, on its current stream.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._event: torch.cuda.Event | None = None
        self._copies = list(tensors)
        if tensors and tensors[0].is_cuda:
            self._copies = [_pinned(tensor) for tensor in tensors]
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(tensors[0].device))

    def wait(self) -> list[Tensor]:
        """The tensors on the host."""
        if self._event is not None:
            self._event.synchronize()
        return self._copies


def _pinned(tensor: Tensor) -> Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)

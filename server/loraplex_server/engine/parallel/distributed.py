"""Ranks that exchange tensors through torch.distributed: NCCL between GPUs, gloo between processes of one host."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from loraplex_kernels.launch import exchange

# Ranks do the same work at the same time, one that died is noticed at once and one that stands still soon (`pulse`): so
# this is for one that computes and never ends. An exchange waits only for what one rank takes longer than another, but
# where cores are slow and shared unevenly that may be most of a layer of a long prefill: no shorter limit is safe. The
# first exchange comes after all have loaded.
TIMEOUT = timedelta(minutes=5)


class TorchGroup:
    """See `loraplex_kernels.group.Group`. The backend itself, without torch's one default group for each process.

    Args:
        store: file that all ranks can reach and none has used before.
        rank: of this process.
        size: number of ranks.
        device: of this rank's tensors.
    """

    def __init__(self, store: str, rank: int, size: int, device: torch.device) -> None:
        self.rank = rank
        self.size = size
        self._backend = _backend(dist.FileStore(store, size), rank, size, device)  # type: ignore[attr-defined]

    def all_reduce(self, x: Tensor) -> None:
        """See `Group.all_reduce`; in x's own dtype."""
        exchange(self._reduce, x)

    def all_gather(self, x: Tensor) -> Tensor:
        """See `Group.all_gather`."""
        gathered = x.new_empty(self.size, *x.shape)
        self._backend._allgather_base(gathered.view(-1, *x.shape[1:]), x).wait()
        return gathered

    def broadcast(self, x: Tensor) -> None:
        """See `Group.broadcast`."""
        self._backend.broadcast(x, 0).wait()

    def close(self) -> None:
        """See `Group.close`."""
        del self._backend

    def _reduce(self, x: Tensor) -> None:
        self._backend.allreduce([x]).wait()


def _backend(store: Any, rank: int, size: int, device: torch.device) -> Any:
    """torch declares no types for what its backends take."""
    if device.type == "cuda":
        # As below: its ranks are of one host too, and exchange what they find each other by over a socket.
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
        options = dist.ProcessGroupNCCL.Options()
        options._timeout = TIMEOUT
        return dist.ProcessGroupNCCL(store, rank, size, options)
    gloo: Any = dist.ProcessGroupGloo
    options = gloo._Options()
    options._timeout = TIMEOUT
    # The loopback alone: what is exchanged is neither encrypted nor signed.
    options._devices = [gloo.create_device(hostname="127.0.0.1")]
    return gloo(store, rank, size, options)

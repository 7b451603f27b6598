"""How many adapters are read at the same time."""

from __future__ import annotations

import torch

MOST = 4


def loader_threads(device: torch.device, cores: int) -> int:
    """Threads that read adapters.

    On a GPU the cores are idle while the device computes. On a CPU they are what computes: with few of them, two loads
    at once would only both be slow, and the steps with them.
    """
    spare = cores // 4
    return max(2 if device.type == "cuda" else 1, min(MOST, spare))

"""The other ranks of a model that is whole: there are none."""

from __future__ import annotations

import torch

from loraplex_adapters.peers import Nobody
from loraplex_kernels.group import ALONE, Group
from loraplex_server.engine.followers import NoFollowers


class NoOthers(Nobody, NoFollowers):
    """See `Lead`: nobody is told, and nobody is waited for."""

    def join(self, device: torch.device) -> Group:
        """See `Lead.join`."""
        return ALONE

    def wait_loaded(self) -> None:
        """See `Lead.wait_loaded`."""

    def measure(self) -> None:
        """See `Lead.measure`."""

    def spare(self) -> list[int]:
        """See `Lead.spare`."""
        return []

    def allocate(self, num_blocks: int, max_model_len: int, host_bytes: int) -> None:
        """See `Lead.allocate`."""

    def wait_ready(self) -> None:
        """See `Lead.wait_ready`."""

    def lost(self) -> str:
        """See `Lead.lost`."""
        return ""


NO_OTHERS = NoOthers()

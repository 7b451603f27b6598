"""What runs the model's forward for the steps that it can, without running it in Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from loraplex_kernels.attention import Span
from loraplex_server.engine.graphs.outcomes import Outcomes
from loraplex_server.models.adapter_step import AdapterStep


class Replay(Protocol):
    """Decode steps from what was captured: CUDA graphs on a GPU, tapes on the CPU."""

    outcomes: Outcomes  # of all `run`s

    def run(self, tokens: Tensor, spans: Sequence[Span], step: AdapterStep | None) -> Tensor | None:
        """Hidden states `[n, H]` of a step, good until the next call; None: the step must be run as any other.

        Args:
            tokens: int64 `[n]`, on the device.
            spans: of the n sequences.
            step: what the adapters do.
        """

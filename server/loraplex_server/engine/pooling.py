"""One vector for a prompt, from the hidden states behind the model's last norm: of its last token, or their mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from loraplex_server.engine.messages import Pooling

if TYPE_CHECKING:  # which knows that sequences may pool
    from loraplex_server.engine.scheduler import Scheduled


class Pooled(NamedTuple):
    """What a step adds."""

    vector: Tensor  # float32 [H], on the device
    rows: int  # that it is the sum of


class Pool:
    """What was pooled of one prompt. Chunks add up; a chunk that is computed again, after a preemption, adds nothing.

    Args:
        kind: `last` or `mean`.
    """

    def __init__(self, kind: Pooling) -> None:
        self.kind = kind
        self._total: Tensor | None = None
        self._count = 0  # prompt tokens so far

    def of_step(self, scheduled: Scheduled, hidden: Tensor) -> Pooled | None:
        """What a step gives: nothing, where none of its rows counts.

        Args:
            scheduled: the sequence's share of the step.
            hidden: `[count, H]` of it, good until the next step.
        """
        if self.kind == "last":
            return Pooled(hidden[-1].to(torch.float32, copy=True), 1) if scheduled.samples else None
        # Virtual tokens are an adapter's, and no part of the prompt.
        first = max(scheduled.start, scheduled.sequence.virtual + self._count)
        rows = hidden[first - scheduled.start :]
        return Pooled(rows.sum(0, dtype=torch.float32), len(rows)) if len(rows) else None

    def add(self, pooled: Pooled) -> None:
        """Count what a step gave."""
        self._total = pooled.vector if self._total is None else self._total + pooled.vector
        self._count += pooled.rows

    def finish(self) -> bytes | None:
        """float32 `[H]` in the machine's byte order; None where it is not finite. Waits for the device."""
        if self._total is None:
            raise RuntimeError("a prompt was computed, but nothing of it was pooled")
        vector = (self._total / self._count).cpu()
        return vector.numpy().tobytes() if bool(vector.isfinite().all()) else None

"""The other ranks of a model: what a step asks of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from loraplex_kernels.attention import Span
from loraplex_server.engine.adapter_rows import Stretch


class Followers(Protocol):
    """They do what this rank is about to do; the collectives within are theirs and this one's together."""

    def forward(self, tokens: Tensor, spans: Sequence[Span], stretches: Sequence[Stretch]) -> None:
        """See `ModelRunner.forward`, which calls this before it computes."""

    def logits(self, hidden: Tensor) -> None:
        """See `ModelRunner.logits`, which calls this before it computes."""

    def close(self) -> None:
        """End them."""


class NoFollowers:
    """The model is whole."""

    def forward(self, tokens: Tensor, spans: Sequence[Span], stretches: Sequence[Stretch]) -> None:
        """See `Followers.forward`."""

    def logits(self, hidden: Tensor) -> None:
        """See `Followers.logits`."""

    def close(self) -> None:
        """See `Followers.close`."""


NO_FOLLOWERS = NoFollowers()

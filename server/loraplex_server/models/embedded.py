"""What the first layer is given."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from loraplex_server.models.rope import Angles


@dataclass(frozen=True)
class Embedded:
    """The rows of a step, before the first layer."""

    x: Tensor  # [T, H]
    angles: tuple[Angles, ...]  # of each rope

    def first(self, rows: int) -> Embedded:
        """Views of the first rows."""
        return Embedded(self.x[:rows], tuple((cos[:rows], sin[:rows]) for cos, sin in self.angles))

    def room_for(self, rows: int) -> Embedded:
        """As many rows of the same kind, their content unset."""
        angles = tuple((_room(cos, rows), _room(sin, rows)) for cos, sin in self.angles)
        return Embedded(_room(self.x, rows), angles)

    def copy_(self, other: Embedded) -> None:
        """Take on the content of as many rows."""
        self.x.copy_(other.x)
        for (cos, sin), (other_cos, other_sin) in zip(self.angles, other.angles, strict=True):
            cos.copy_(other_cos)
            sin.copy_(other_sin)


def _room(like: Tensor, rows: int) -> Tensor:
    return like.new_empty(rows, *like.shape[1:])

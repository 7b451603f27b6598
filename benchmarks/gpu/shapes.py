"""The linears that kernels are timed on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Linears that share an input and one launch."""

    name: str
    in_features: int  # K
    widths: tuple[int, ...]

    @property
    def out_features(self) -> int:
        """N."""
        return sum(self.widths)


SHAPES = {
    "llama-3.1-8b": (
        Shape("qkv", 4096, (4096, 1024, 1024)),
        Shape("o", 4096, (4096,)),
        Shape("gate/up", 4096, (14336, 14336)),
        Shape("down", 14336, (4096,)),
    ),
    "tiny": (Shape("qkv", 128, (128, 128, 128)), Shape("down", 256, (128,))),
}

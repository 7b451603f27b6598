"""LoRA on the embedding: a low-rank update of its table."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from loraplex_adapters.base import BaseShape
from loraplex_adapters.lora.bound_term import BoundTerm, turned
from loraplex_adapters.lora.parts import Parts
from loraplex_adapters.peft_config import LoraConfig
from loraplex_adapters.targets import Target
from loraplex_adapters.tensor_file import TensorSpec
from loraplex_adapters.term_shape import TermShape

WHAT = "embeddings that the config selects"


@dataclass(frozen=True)
class BoundEmbedding:
    """The tensors of the file that adapt the embedding."""

    a: TensorSpec  # [rank, rows]
    b: TensorSpec  # [width, rank]
    magnitude: TensorSpec | None  # [width], DoRA's m
    scale: float


def bind_embedding(
    parts: Parts, config: LoraConfig, target: Target | None, base: BaseShape, rows: int
) -> BoundEmbedding | None:
    """Claim them, where the config selects the embedding.

    Args:
        parts: of the file.
        config: of the adapter.
        target: the embedding's rank and scale; None where it is not selected.
        base: the model.
        rows: of the adapter's own embedding.
    """
    if target is None:
        return None
    name, width = base.embedding.name, base.embedding.width
    a = parts.need(name, "lora_embedding_A", (target.rank, rows), what=WHAT)
    b = parts.need(name, "lora_embedding_B", (width, target.rank), what=WHAT)
    magnitude = parts.need(name, "lora_magnitude_vector", (width,), what=WHAT) if config.use_dora else None
    if a is None or b is None or (config.use_dora and magnitude is None):
        return None
    return BoundEmbedding(a, b, magnitude, target.scale)


def embedding_terms(bound: BoundEmbedding, dtype: torch.dtype) -> list[BoundTerm]:
    """The update itself. Source: arXiv:2106.09685; PEFT's `Embedding.forward` (tuners/lora/layer.py)."""
    (rank, rows), width = bound.a.shape, bound.b.shape[0]
    return [
        turned(TermShape("embedding_lora", None, (rows, rank), dtype, "a", bound.scale), bound.a),
        turned(TermShape("embedding_lora", None, (rank, width), dtype, "b"), bound.b),
    ]

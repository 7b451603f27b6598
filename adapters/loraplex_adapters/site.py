"""A site: one linear of the base model to which an adapter can bind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Site:
    """Args: index: column of the adapter table. name: module path as transformers and PEFT spell it,
    such as `model.layers.3.self_attn.q_proj`. in_features, out_features: of its weight `[out, in]`.
    """

    index: int
    name: str
    in_features: int
    out_features: int

"""What an adapter does to the base beyond low-rank updates of its linears.

Plain LoRA has none of this, and costs nothing for it: the model looks only at the adapters of a step that have terms.
With a request's weight w, each term moves the output by w times the difference that it makes alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True)
class TokenRows:
    """Rows of the vocabulary that an adapter has its own vectors for."""

    ids: Tensor  # int64 [n], ascending
    rows: Tensor  # [n, H]


@dataclass(frozen=True)
class EmbeddingLora:
    """A low-rank update of the embedding: `scale * a[token] @ b`, times the embedding's own scale."""

    a: Tensor  # [vocab, r]: PEFT's lora_embedding_A, transposed
    b: Tensor  # [r, H]: PEFT's lora_embedding_B, transposed
    scale: float


@dataclass(frozen=True)
class Terms:
    """The terms of one adapter; every tensor is a view of its one buffer, on the device.

    Keys are indices of sites, or module paths of norms.
    """

    bias: Mapping[int, Tensor] = field(default_factory=dict)  # [out], added to the output
    output_scale: Mapping[int, Tensor] = field(default_factory=dict)  # [out], of the base's output with its bias (IA3)
    input_scale: Mapping[int, Tensor] = field(default_factory=dict)  # [in], of the input (IA3, feed-forward)
    rotation: Mapping[int, Tensor] = field(default_factory=dict)  # [blocks, size, size]: each block of x times its own
    weight: Mapping[int, Tensor] = field(default_factory=dict)  # [out, in], instead of the base's; rows may be more
    norm: Mapping[str, Tensor] = field(default_factory=dict)  # [width], instead of the base's
    embedding: Tensor | None = None  # [vocab, H], instead of the base's; vocab may differ
    embedding_lora: EmbeddingLora | None = None
    input_tokens: TokenRows | None = None  # instead of those rows of the embedding
    output_tokens: TokenRows | None = None  # instead of those rows of lm_head
    prompt: Tensor | None = None  # [virtual, H]: vectors before the prompt's own, not scaled (prompt tuning)
    prefix: Tensor | None = None  # [layers, 2, kv_heads, virtual, head_dim]: keys and values before the prompt's own

    @cached_property
    def sites(self) -> frozenset[int]:
        """Indices of the linears that have any of them."""
        return frozenset().union(self.bias, self.output_scale, self.input_scale, self.rotation, self.weight)

    @property
    def embeds(self) -> bool:
        """Whether tokens have other vectors than the base's."""
        own = (self.embedding, self.embedding_lora, self.input_tokens, self.prompt)
        return any(part is not None for part in own)


@dataclass(frozen=True)
class Traits:
    """What the engine has to know of an adapter before it runs, in plain numbers.

    Args:
        terms: there are terms.
        virtual_tokens: positions that it puts before the prompt.
        invocation: tokens whose last occurrence in the prompt is where it begins to act (aLoRA); none: at the start.
        input_vocab: rows of its own embedding; None: the base's.
        output_vocab: rows of its own lm_head; None: the base's.
        head: it changes what lm_head gives.
    """

    terms: bool = False
    virtual_tokens: int = 0
    invocation: tuple[int, ...] = ()
    input_vocab: int | None = None
    output_vocab: int | None = None
    head: bool = False

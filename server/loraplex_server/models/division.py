"""How a model is divided among ranks: attention by heads, the feed-forward block by its width, tables by vocabulary.

q, k, v, gate and up are divided by outputs, o and down by the inputs that those give: so each rank computes its heads
and its width alone, and outputs are added up once behind attention and once behind the feed-forward block
(Megatron-LM, arXiv:1909.08053, section 3). Keys and values have fewer heads: with more ranks than these, several ranks
keep the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from loraplex_adapters.shard import Shard, SitePart, Span
from loraplex_server.models.blueprint import Blueprint, blueprint
from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.errors import UnsupportedModelError


def span(count: int, rank: int, size: int) -> Span:
    """The rank's part of so many, in order; parts differ by one at most."""
    return count * rank // size, count * (rank + 1) // size


@dataclass(frozen=True)
class Division:
    """One rank's part of a model.

    Args:
        whole: the model's config.
        rank: of this process.
        size: number of ranks.

    Raises:
        UnsupportedModelError: the model cannot be divided among so many.
    """

    whole: DecoderConfig
    rank: int
    size: int

    def __post_init__(self) -> None:
        """Check that everything that is divided can be."""
        for name, count in (("attention heads", self.whole.num_heads), ("inner units", self.whole.intermediate_size)):
            if count % self.size:
                raise UnsupportedModelError(
                    f"--tensor-parallel-size {self.size}: the model's {count} {name} cannot be divided evenly among so "
                    "many ranks"
                )
        if self.whole.vocab_size < self.size:
            raise UnsupportedModelError(f"--tensor-parallel-size {self.size}: the model has fewer tokens than ranks")
        kv_heads = self.whole.num_kv_heads
        if max(kv_heads, self.size) % min(kv_heads, self.size):
            raise UnsupportedModelError(
                f"--tensor-parallel-size {self.size}: the model's {kv_heads} heads of keys and values can neither be "
                "divided among so many nor be kept by equally many each"
            )

    @cached_property
    def config(self) -> DecoderConfig:
        """Of a model that is the rank's part."""
        first, last = self.kv_heads
        return replace(
            self.whole,
            num_heads=self.whole.num_heads // self.size,
            num_kv_heads=last - first,
            intermediate_size=self.whole.intermediate_size // self.size,
        )

    @cached_property
    def kv_heads(self) -> Span:
        """The rank's heads of keys and values."""
        if self.whole.num_kv_heads >= self.size:
            return span(self.whole.num_kv_heads, self.rank, self.size)
        head = self.rank * self.whole.num_kv_heads // self.size
        return head, head + 1

    @cached_property
    def shard(self) -> Shard:
        """What the rank has of each site, for adapters: of the output layer, which is none's alone, everything."""
        plan = blueprint(self.whole)
        sites = [SitePart()] * len(plan.sites()) if self.size == 1 else self._sites(plan)
        return Shard(tuple(sites), self.kv_heads, self.rank == 0)

    @property
    def vocabulary(self) -> SitePart:
        """The rank's rows of the tables of the vocabulary."""
        return SitePart() if self.size == 1 else SitePart(outputs=(span(self.whole.vocab_size, self.rank, self.size),))

    def _sites(self, plan: Blueprint) -> Sequence[SitePart]:
        dim, inner = self.whole.head_dim, span(self.whole.intermediate_size, self.rank, self.size)
        heads = _scaled(span(self.whole.num_heads, self.rank, self.size), dim)
        kv = _scaled(self.kv_heads, dim)
        q_width, kv_width = self.whole.num_heads * dim, self.whole.num_kv_heads * dim
        qkv = (heads, kv, kv), (q_width, kv_width, kv_width)
        gate_up = (inner, inner), (self.whole.intermediate_size,) * 2
        parts: list[SitePart] = []
        for layer in plan.layers:
            parts += _outputs(len(layer.qkv.names), *qkv)
            parts.append(SitePart(inputs=heads))
            parts += _outputs(len(layer.gate_up.names), *gate_up)
            parts.append(SitePart(inputs=inner))
        return [*parts, SitePart()]


def _scaled(span: Span, by: int) -> Span:
    return span[0] * by, span[1] * by


def _outputs(names: int, spans: Sequence[Span], widths: Sequence[int]) -> list[SitePart]:
    """Of linears that share their input: several sites, or one that the checkpoint has packed."""
    if names > 1:
        return [SitePart(outputs=(span,)) for span in spans]
    firsts = [sum(widths[:place]) for place in range(len(widths))]
    return [SitePart(outputs=tuple((first + at, first + to) for first, (at, to) in zip(firsts, spans, strict=True)))]

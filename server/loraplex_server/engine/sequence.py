"""One answer in the making: its tokens, how far they are computed, and the blocks that hold their keys and values."""

from __future__ import annotations

import random
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loraplex_server.engine.messages import FinishReason, SamplingParams
from loraplex_server.engine.prefix import BASE, Lineage, extend_hashes

if TYPE_CHECKING:  # the scheduler, which imports this, is plain Python; bindings know of tensors
    from loraplex_server.engine.binding import Binding, SlotUse

# What stands in `tokens` for a virtual token: any id that every model has. Its vector or its keys and values are the
# adapter's, which its blocks' names know of.
PLACEHOLDER = 0


@dataclass(eq=False)
class Sequence:
    """Tokens `[0, num_computed)` have keys and values in the blocks of `block_table`; the rest is still to compute.

    There are no phases: prefill, decode and recomputing after a preemption are all "catch up with `tokens`".
    """

    request_id: str
    index: int
    prompt_len: int
    sampling: SamplingParams
    max_len: int  # tokens at which it ends whatever was asked for
    tokens: list[int]
    adapters: tuple[SlotUse, ...] = ()  # set, as are the next three, once all of them are in memory
    lineage: Lineage = BASE  # of its block hashes: which weights compute it
    virtual: int = 0  # tokens in front that an adapter put there; counted in `prompt_len`, shown to nobody
    vocab: int | None = None  # tokens that it chooses from; None: as many as there are logits
    leader: Sequence | None = None  # the first answer of the same prompt: its blocks are shared once it has them

    num_computed: int = 0
    cached_tokens: int | None = None  # found in the prefix cache at the first admission
    block_table: list[int] = field(default_factory=list)
    block_hashes: list[bytes] = field(default_factory=list)
    num_scored: int = 0  # prompt tokens after the first whose logprobs were delivered; a preemption keeps them
    finish_reason: FinishReason | None = None
    first_scheduled: float | None = None
    preemptions: int = 0

    def __post_init__(self) -> None:
        """Seed the sequence's own random numbers: its draws do not depend on what else is in the batch."""
        seed = self.sampling.seed
        self.rng = random.Random() if seed is None else random.Random(f"{seed}:{self.index}")

    def bind(self, binding: Binding) -> None:
        """Its adapters are in memory; nothing of it was computed before."""
        self.adapters, self.lineage = binding.adapters, binding.lineage
        self.virtual, self.vocab = binding.virtual, binding.vocab
        self.tokens[:0] = [PLACEHOLDER] * binding.virtual
        self.prompt_len += binding.virtual

    @property
    def real_tokens(self) -> Seq[int]:
        """Prompt and output, as the request knows them."""
        return self.tokens[self.virtual :]

    @property
    def output(self) -> Seq[int]:
        """Generated tokens."""
        return self.tokens[self.prompt_len :]

    @property
    def num_output(self) -> int:
        """How many tokens were generated."""
        return len(self.tokens) - self.prompt_len

    @property
    def num_pending(self) -> int:
        """Tokens whose keys and values are not computed yet."""
        return len(self.tokens) - self.num_computed

    @property
    def prompt_computed(self) -> bool:
        """Whether the whole prompt is in the KV cache."""
        return self.num_computed >= self.prompt_len

    @property
    def wants_prompt_logprobs(self) -> bool:
        """Whether the logits of every prompt position are needed, which a prefix cache does not have."""
        return self.sampling.prompt_logprobs is not None and self.leader is None

    def hashes(self, block_size: int) -> list[bytes]:
        """Names of all full blocks of the tokens so far."""
        extend_hashes(self.block_hashes, self.lineage, self.tokens, block_size)
        return self.block_hashes

    def append(self, token: int) -> None:
        """Add a sampled token and end the sequence where it should end."""
        self.tokens.append(token)
        sampling = self.sampling
        if token in sampling.stop_token_ids and self.num_output > sampling.min_tokens:
            self.finish_reason = "stop"
        elif self.num_output >= sampling.max_tokens or len(self.tokens) >= self.max_len:
            self.finish_reason = "length"

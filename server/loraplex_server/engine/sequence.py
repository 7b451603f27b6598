"""One answer in the making: its tokens, how far they are computed, and the blocks that hold their keys and values."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loraplex_server.engine.fairness import Payers
from loraplex_server.engine.messages import FinishReason, SamplingParams, Share
from loraplex_server.engine.prefix import BASE, Lineage, extend_hashes
from loraplex_server.engine.speculation.drafter import Drafter

if TYPE_CHECKING:  # the scheduler, which imports this, is plain Python; these know of tensors
    from loraplex_server.engine.binding import Binding, SlotUse
    from loraplex_server.engine.grammars.matcher import Matcher
    from loraplex_server.engine.pooling import Pool

# What stands in `tokens` for a virtual token: any id that every model has. Its vector or its keys and values are the
# adapter's, which its blocks' names know of.
PLACEHOLDER = 0
NOBODY = Share()


@dataclass(eq=False)
class Sequence:
    """Tokens `[0, num_computed)` have keys and values in the blocks of `block_table`; the rest is still to compute.

    There are no phases: prefill, decode and recomputing after a preemption are all "catch up with `tokens`", and with
    the token in flight behind them, which the next step can take from where the last one left it.
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
    share: Share = NOBODY  # whom it is counted to, and how urgent it is
    group: str = ""  # its adapters' names: within a tenant each group has its turn
    matcher: Matcher | None = None  # set before it runs, where its request names a grammar
    pool: Pool | None = None  # where its prompt's hidden states are wanted, and no tokens
    leader: Sequence | None = None  # the first answer of the same prompt: its blocks are shared once it has them

    arrival: int = 0  # among all that were queued; set, as are its payers, when it is
    payers: Payers = field(default_factory=Payers.unknown)
    num_charged: int = 0  # prompt tokens that need not be paid any more: they were, or cost nothing
    num_computed: int = 0
    in_flight: int = 0  # tokens that steps on their way choose: counted, but which they are is not known here yet
    cached_tokens: int | None = None  # found in the prefix cache at the first admission
    block_table: list[int] = field(default_factory=list)
    block_hashes: list[bytes] = field(default_factory=list)
    num_named: int = 0  # full blocks that were told to the prefix cache, or came from it
    num_scored: int = 0  # prompt tokens after the first whose logprobs were delivered; a preemption keeps them
    finish_reason: FinishReason | None = None
    ended_by_grammar: bool = False  # its last token is no stop token, but nothing could follow it
    dead_end: str | None = None  # why no token at all may come next
    first_scheduled: float | None = None
    preemptions: int = 0
    drafter: Drafter | None = None  # once it was asked to propose tokens

    def __post_init__(self) -> None:
        """Seed the sequence's own random numbers: its draws do not depend on what else is in the batch."""
        sampling = self.sampling
        self.rng = random.Random() if sampling.seed is None else random.Random(f"{sampling.seed}:{self.index}")
        self._drawn = array("d")
        # Whether a token is chosen with regard to the ones before it, which so must be known first.
        self.reads_output = (
            sampling.presence_penalty != 0.0
            or sampling.frequency_penalty != 0.0
            or sampling.repetition_penalty != 1.0
            or sampling.grammar is not None
            or any(len(word) > 1 for word in sampling.bad_words)
        )

    def uniform(self, place: int) -> float:
        """The random number in [0, 1) of the answer's token of that place, the same however often it is asked for.

        A token may be chosen in vain, behind a draft that was not accepted, and is then chosen again.
        """
        while len(self._drawn) <= place:
            self._drawn.append(self.rng.random())
        return self._drawn[place]

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
    def num_chosen(self) -> int:
        """Generated tokens, those in flight among them."""
        return self.num_output + self.in_flight

    @property
    def length(self) -> int:
        """All tokens, those in flight among them."""
        return len(self.tokens) + self.in_flight

    @property
    def complete(self) -> bool:
        """Whether the token in flight is its last whatever it is, so that nothing is left to compute."""
        return self.in_flight > 0 and (self.num_chosen >= self.sampling.max_tokens or self.length >= self.max_len)

    @property
    def num_pending(self) -> int:
        """Tokens whose keys and values are not computed yet, and are needed."""
        return 0 if self.complete else self.length - self.num_computed

    @property
    def draft_room(self) -> int:
        """How many tokens may be proposed, so that all of them and the one after them would be wanted."""
        return min(self.sampling.max_tokens - self.num_output, self.max_len - len(self.tokens)) - 1

    @property
    def begun(self) -> bool:
        """Whether it was admitted before."""
        return self.cached_tokens is not None

    @property
    def prompt_computed(self) -> bool:
        """Whether the whole prompt is in the KV cache."""
        return self.num_computed >= self.prompt_len

    @property
    def wants_prompt_logprobs(self) -> bool:
        """Whether the logits of every prompt position are needed, which a prefix cache does not have."""
        return self.sampling.prompt_logprobs is not None and self.leader is None

    @property
    def computes_whole_prompt(self) -> bool:
        """Whether something is wanted of every prompt position that a prefix cache does not have."""
        return self.wants_prompt_logprobs or (self.pool is not None and self.pool.kind == "mean")

    def hashes(self, block_size: int) -> list[bytes]:
        """Names of all full blocks of the tokens so far."""
        extend_hashes(self.block_hashes, self.lineage, self.tokens, block_size)
        return self.block_hashes

    def land(self, token: int | None) -> None:
        """Add the token that was in flight, and end the sequence where it should end.

        Args:
            token: None where no token was asked for (max_tokens 0): the prompt's own log probabilities were all.
        """
        self.in_flight -= 1
        sampling = self.sampling
        if token is None:
            self.finish_reason = "length"
            return
        self.tokens.append(token)
        full = self.num_output >= sampling.max_tokens or len(self.tokens) >= self.max_len
        if token in sampling.stop_token_ids and self.num_output > sampling.min_tokens:
            self.finish_reason = "stop"
        elif self.matcher is not None and self.matcher.take(token, last=full):
            self.finish_reason = "stop"
            self.ended_by_grammar = True
        elif full:
            self.finish_reason = "length"

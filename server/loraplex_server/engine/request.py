"""A request inside the engine: its answers, its leases, its times."""

from __future__ import annotations

import time
from collections.abc import Sequence as Seq
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from loraplex_adapters.errors import AdapterError
from loraplex_adapters.lease import Lease
from loraplex_server.engine.binding import bind
from loraplex_server.engine.choice import Choice
from loraplex_server.engine.grammars.errors import GrammarError
from loraplex_server.engine.grammars.grammar import Grammar
from loraplex_server.engine.grammars.library import GrammarLibrary
from loraplex_server.engine.limits import InvalidRequestError, Limits
from loraplex_server.engine.messages import Delta, GenerateRequest, Started, TokenLogprob
from loraplex_server.engine.pooling import Pool
from loraplex_server.engine.sequence import Sequence

NOT_FINITE = (
    "the model's output is not finite for this request: the adapter's weights or the request's weight for it are too "
    "large for the served number format"
)


@dataclass(eq=False)
class Request:
    """One prompt with its `n` answers; what they share is leased once."""

    message: GenerateRequest
    sequences: list[Sequence]
    leases: list[Lease]
    grammar: Future[Grammar] | None = None  # that its answers follow, once it is compiled
    arrival: float = field(default_factory=time.monotonic)
    bound: bool = False  # the adapters are in memory, and the sequences know where
    prompt_logprobs: list[TokenLogprob | None] = field(default_factory=lambda: [None])

    @property
    def deadline(self) -> float | None:
        """When its time is over."""
        return None if self.message.timeout_s is None else self.arrival + self.message.timeout_s

    @property
    def begun(self) -> bool:
        """Whether any of its answers was admitted."""
        return any(sequence.begun for sequence in self.sequences)

    @property
    def answered(self) -> bool:
        """Whether any token of it is known."""
        return any(sequence.num_output for sequence in self.sequences)

    @property
    def ready(self) -> bool:
        """Whether all of the request's adapters are in memory, and its grammar is compiled, as far as it can be."""
        return all(lease.state == "ready" for lease in self.leases) and (self.grammar is None or self.grammar.done())

    @property
    def adapter_error(self) -> AdapterError | None:
        """Why the request cannot be served, where one of its adapters cannot."""
        return next((lease.error for lease in self.leases if lease.error is not None), None)

    def bind(self, limits: Limits, grammars: GrammarLibrary) -> None:
        """Tell the sequences where the adapters are, all of which must be in memory, and give them their matchers.

        Raises:
            InvalidRequestError: the request asks something of these adapters that cannot be, or has a bad grammar.
        """
        binding = bind(self.message, self.leases, limits)
        if self.grammar is not None:
            self._begin_grammar(self.grammar, grammars)
        for sequence in self.sequences:
            sequence.bind(binding)
        self.bound = True

    def _begin_grammar(self, compiled: Future[Grammar], grammars: GrammarLibrary) -> None:
        try:
            grammar = compiled.result()
        except GrammarError as error:
            raise InvalidRequestError(f"the grammar cannot be followed: {error}") from error
        for sequence in self.sequences:
            sequence.matcher = grammars.matcher(grammar, sequence.sampling.stop_token_ids)

    @property
    def generation(self) -> str:
        """Content hashes of the adapters; "" for the base."""
        return "+".join(lease.generation for lease in self.leases)

    @property
    def finished(self) -> bool:
        """Whether every answer has ended."""
        return all(sequence.finish_reason is not None for sequence in self.sequences)

    def delta(self, sequence: Sequence, choices: Seq[Choice], *, first: bool = False) -> Delta:
        """What is new of one of its answers; `first`: for the first time."""
        logprobs = [choice.logprob for choice in choices if choice.logprob is not None]
        wanted = sequence.sampling.max_tokens > 0
        return Delta(
            request_id=sequence.request_id,
            index=sequence.index,
            token_ids=[choice.token for choice in choices if choice.token is not None and wanted],
            logprobs=logprobs if logprobs and sequence.sampling.logprobs is not None else None,
            started=self.started(sequence) if first else None,
            finish_reason=sequence.finish_reason,
            ended_by_grammar=sequence.ended_by_grammar,
        )

    def started(self, sequence: Sequence) -> Started:
        """What goes out with an answer's first delta."""
        now = time.monotonic()
        first = sequence.first_scheduled or now
        # They are the same for all answers and can be large: they go out once.
        wants_prompt = sequence.wants_prompt_logprobs
        return Started(
            queue_s=first - self.arrival,
            prefill_s=now - first,
            cached_tokens=sequence.cached_tokens or 0,
            generation=self.generation,
            load_s=max(0.0, *(lease.ready_at - self.arrival for lease in self.leases)) if self.leases else 0.0,
            origins=tuple(lease.origin for lease in self.leases),
            prompt_logprobs=list(self.prompt_logprobs) if wants_prompt else None,
        )

    def no_choice(self, sequence: Sequence) -> tuple[str, Literal["invalid", "adapter", "engine"]]:
        """Why no token could be chosen for an answer, and whose fault that is."""
        if sequence.dead_end is not None:
            return sequence.dead_end, "invalid"
        return NOT_FINITE, "adapter" if self.leases else "engine"


def sequences_of(message: GenerateRequest, max_len: int) -> list[Sequence]:
    """A request's answers, of at most so many tokens with the prompt; all but the first wait for its prompt."""
    group = "+".join(use.source.name for use in message.adapters)
    sequences = [
        Sequence(
            request_id=message.request_id,
            index=index,
            prompt_len=len(message.prompt_token_ids),
            sampling=message.sampling,
            max_len=max_len,
            tokens=list(message.prompt_token_ids),
            share=message.share,
            group=group,
            pool=None if message.pooling is None else Pool(message.pooling),
        )
        for index in range(message.n)
    ]
    for sequence in sequences[1:]:
        sequence.leader = sequences[0]
    return sequences

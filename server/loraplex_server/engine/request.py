"""A request inside the engine: its answers, its leases, its times."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from loraplex_adapters.errors import AdapterError
from loraplex_adapters.lease import Lease
from loraplex_server.engine.binding import bind
from loraplex_server.engine.limits import Limits
from loraplex_server.engine.messages import GenerateRequest, Started, TokenLogprob
from loraplex_server.engine.sequence import Sequence


@dataclass(eq=False)
class Request:
    """One prompt with its `n` answers; what they share is leased once."""

    message: GenerateRequest
    sequences: list[Sequence]
    leases: list[Lease]
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
    def adapters_ready(self) -> bool:
        """Whether all of the request's adapters are in memory."""
        return all(lease.state == "ready" for lease in self.leases)

    @property
    def adapter_error(self) -> AdapterError | None:
        """Why the request cannot be served, where one of its adapters cannot."""
        return next((lease.error for lease in self.leases if lease.error is not None), None)

    def bind(self, limits: Limits) -> None:
        """Tell the sequences where the adapters are, all of which must be in memory.

        Raises:
            InvalidRequestError: the request asks something of these adapters that cannot be.
        """
        binding = bind(self.message, self.leases, limits)
        for sequence in self.sequences:
            sequence.bind(binding)
        self.bound = True

    @property
    def generation(self) -> str:
        """Content hashes of the adapters; "" for the base."""
        return "+".join(lease.generation for lease in self.leases)

    @property
    def finished(self) -> bool:
        """Whether every answer has ended."""
        return all(sequence.finish_reason is not None for sequence in self.sequences)

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
            prompt_logprobs=list(self.prompt_logprobs) if wants_prompt else None,
        )


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
        )
        for index in range(message.n)
    ]
    for sequence in sequences[1:]:
        sequence.leader = sequences[0]
    return sequences

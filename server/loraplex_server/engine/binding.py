"""What is decided once a request's adapters are in memory: where they act, what they add, whether they may."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loraplex_adapters.lease import Lease
from loraplex_adapters.terms import Terms
from loraplex_server.engine.limits import InvalidRequestError, Limits
from loraplex_server.engine.messages import AdapterUse, GenerateRequest
from loraplex_server.engine.prefix import Lineage, Part


@dataclass(frozen=True)
class SlotUse:
    """One adapter of a sequence, where it lies now; the request's lease keeps it there."""

    slot: int  # row of the adapter table
    weight: float
    magnitude: bool  # it has DoRA magnitudes
    head: bool  # it changes what lm_head gives
    low_rank: bool = True  # it has low-rank updates
    start: int = 0  # position from which it acts
    virtual: int = 0  # positions that it puts before the prompt
    terms: Callable[[], Terms] | None = None  # what it does beyond low rank; None: nothing


@dataclass(frozen=True)
class Binding:
    """The adapters of one request, for all of its answers."""

    adapters: tuple[SlotUse, ...]
    lineage: Lineage  # of its blocks
    virtual: int  # positions before the prompt
    vocab: int  # of the tokens that it may choose


def bind(message: GenerateRequest, leases: Sequence[Lease], limits: Limits) -> Binding:
    """Put a request's adapters in their places.

    An activated LoRA acts from the last occurrence of its invocation tokens in the prompt on; where they do not occur
    PEFT does not use it at all (`calculate_alora_offsets` in peft/tuners/lora/variants.py), and neither is it here.

    Args:
        message: the request.
        leases: of its adapters, ready, in the same order.
        limits: of the server.

    Raises:
        InvalidRequestError: the request asks something of these adapters that cannot be.
    """
    uses = list(zip(leases, message.adapters, strict=True))
    virtual = _virtual_tokens(uses)
    known, chosen = _vocabularies(uses, limits.vocab)
    limits.check_length(message, virtual)
    limits.check_tokens(message, known, chosen)
    adapters, parts = [], []
    for lease, use in uses:
        start = _start(message.prompt_token_ids, lease.place.traits.invocation, virtual)
        if start is None:
            continue
        adapters.append(_slot_use(lease, use, start))
        parts.append(Part(lease.generation, use.weight, start))
    return Binding(tuple(adapters), Lineage(parts), virtual, chosen)


def last_occurrence(tokens: Sequence[int], wanted: Sequence[int]) -> int | None:
    """Where `wanted` begins for the last time in `tokens`; None where it does not."""
    sought = list(wanted)
    for start in range(len(tokens) - len(sought), -1, -1):
        if tokens[start] == sought[0] and list(tokens[start : start + len(sought)]) == sought:
            return start
    return None


def _start(prompt: Sequence[int], invocation: Sequence[int], virtual: int) -> int | None:
    if not invocation:
        return 0
    place = last_occurrence(prompt, invocation)
    return None if place is None else virtual + place


def _slot_use(lease: Lease, use: AdapterUse, start: int) -> SlotUse:
    seat = lease.place
    return SlotUse(
        slot=seat.slot,
        weight=use.weight,
        magnitude=seat.magnitude,
        head=seat.head,
        low_rank=seat.low_rank,
        start=start,
        virtual=seat.traits.virtual_tokens,
        terms=seat.terms if seat.traits.terms else None,
    )


def _virtual_tokens(uses: Sequence[tuple[Lease, AdapterUse]]) -> int:
    """How many positions come before the prompt."""
    with_tokens = [(lease, use) for lease, use in uses if lease.place.traits.virtual_tokens]
    if len(with_tokens) > 1:
        raise InvalidRequestError(
            f"adapters {_names(with_tokens)} each put virtual tokens before the prompt, and nothing says in which "
            "order; name one of them"
        )
    for lease, use in with_tokens:
        if use.weight != 1.0:
            raise InvalidRequestError(
                f"adapter '{lease.source.name}' puts virtual tokens before the prompt, which are there or are not: its "
                f"weight can only be 1, not {use.weight:g}"
            )
        return lease.place.traits.virtual_tokens
    return 0


def _vocabularies(uses: Sequence[tuple[Lease, AdapterUse]], base: int) -> tuple[int, int]:
    """How many tokens the request may name, and how many it may choose from."""
    sized = [(lease, use) for lease, use in uses if _sizes(lease, base) != (base, base)]
    if not sized:
        return base, base
    if len(sized) > 1:
        raise InvalidRequestError(
            f"adapters {_names(sized)} each have a vocabulary of their own, not the base's {base} tokens; name one of "
            "them"
        )
    ((lease, use),) = sized
    known, chosen = _sizes(lease, base)
    if use.weight != 1.0:
        raise InvalidRequestError(
            f"adapter '{lease.source.name}' has a vocabulary of {chosen} tokens, not the base's {base}: its weight can "
            f"only be 1, not {use.weight:g}"
        )
    if chosen > known:
        raise InvalidRequestError(
            f"adapter '{lease.source.name}' can choose between {chosen} tokens but has vectors for only {known}; save "
            "it with its embedding too (save_embedding_layers=True)"
        )
    return known, chosen


def _sizes(lease: Lease, base: int) -> tuple[int, int]:
    traits = lease.place.traits
    return traits.input_vocab or base, traits.output_vocab or base


def _names(uses: Sequence[tuple[Lease, AdapterUse]]) -> str:
    return " and ".join(f"'{lease.source.name}'" for lease, _ in uses)

"""What is decided once a request's adapters are in memory: where they act, what they add, whether they may."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loraplex_adapters.lease import Lease
from loraplex_adapters.seat import Seat
from loraplex_adapters.terms import Terms, Traits
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


@dataclass(frozen=True)
class _Use:
    """One adapter of a request."""

    name: str
    seat: Seat
    weight: float

    @property
    def traits(self) -> Traits:
        return self.seat.traits


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
    uses = _each_once(leases, message.adapters)
    virtual = _virtual_tokens(uses)
    known, chosen = _vocabularies(uses, limits.vocab)
    limits.check_length(message, virtual)
    limits.check_tokens(message, known, chosen)
    adapters, parts = [], []
    for use in uses:
        start = _start(message.prompt_token_ids, use.traits.invocation, virtual)
        if start is None:
            continue
        adapters.append(_slot_use(use, start))
        parts.append(Part(use.seat.generation, use.weight, start))
    return Binding(tuple(adapters), Lineage(parts, message.salt), virtual, chosen)


def _each_once(leases: Sequence[Lease], uses: Sequence[AdapterUse]) -> list[_Use]:
    """An adapter that is named twice acts once, with both weights."""
    found: dict[int, _Use] = {}
    for lease, use in zip(leases, uses, strict=True):
        before = found.get(lease.slot)
        weight = use.weight if before is None else before.weight + use.weight
        found[lease.slot] = _Use(lease.source.name, lease.place, weight)
    return list(found.values())


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


def _slot_use(use: _Use, start: int) -> SlotUse:
    seat = use.seat
    return SlotUse(
        slot=seat.slot,
        weight=use.weight,
        magnitude=seat.magnitude,
        head=seat.head,
        low_rank=seat.low_rank,
        start=start,
        virtual=use.traits.virtual_tokens,
        terms=seat.terms if use.traits.terms else None,
    )


def _virtual_tokens(uses: Sequence[_Use]) -> int:
    """How many positions come before the prompt."""
    in_front = [use for use in uses if use.traits.virtual_tokens]
    if len(in_front) > 1:
        raise InvalidRequestError(
            f"adapters {_names(in_front)} each put virtual tokens before the prompt, and nothing says in which order; "
            "name one of them"
        )
    for use in in_front:
        if use.weight != 1.0:
            raise InvalidRequestError(
                f"adapter '{use.name}' puts virtual tokens before the prompt, which are there or are not: its weight "
                f"can only be 1, not {use.weight:g}"
            )
    return sum(use.traits.virtual_tokens for use in in_front)


def _vocabularies(uses: Sequence[_Use], base: int) -> tuple[int, int]:
    """How many tokens the request may name, and how many it may choose from."""
    sized = [use for use in uses if _sizes(use, base) != (base, base)]
    if not sized:
        return base, base
    if len(sized) > 1:
        raise InvalidRequestError(
            f"adapters {_names(sized)} each have a vocabulary of their own, not the base's {base} tokens; name one of "
            "them"
        )
    (use,) = sized
    known, chosen = _sizes(use, base)
    if use.weight != 1.0:
        raise InvalidRequestError(
            f"adapter '{use.name}' has a vocabulary of {chosen} tokens, not the base's {base}: its weight can only be "
            f"1, not {use.weight:g}"
        )
    if chosen > known:
        raise InvalidRequestError(
            f"adapter '{use.name}' can choose between {chosen} tokens but has vectors for only {known}; save it with "
            "its embedding too (save_embedding_layers=True)"
        )
    return known, chosen


def _sizes(use: _Use, base: int) -> tuple[int, int]:
    return use.traits.input_vocab or base, use.traits.output_vocab or base


def _names(uses: Sequence[_Use]) -> str:
    return " and ".join(f"'{use.name}'" for use in uses)

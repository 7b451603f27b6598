"""A run's requests, ready to send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np

from loraplex_server.bench.load.arrivals import arrival_times
from loraplex_server.bench.load.extra import extra_fields
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.popularity import with_base_share
from loraplex_server.bench.load.prompts import random_ids, random_words


class Names(Protocol):
    """What the base model and the adapters are called."""

    @property
    def adapters(self) -> Sequence[str]:
        """The adapters' names."""

    def name(self, adapter: int | None) -> str:
        """The name that a request for this adapter gives as its model."""


@dataclass(frozen=True)
class Planned:
    """One request of a run."""

    model: str
    adapter: int | None
    prompt: list[int] | str
    """Token ids, or words for the chat endpoint."""
    output_tokens: int
    due: float | None
    """Seconds from the start of the run; None in a closed loop, where the requests before it decide."""
    body: bytes
    """Encoded beforehand: while the run goes on, the processor is the server's."""


def plan(options: LoadOptions, names: Names, seed: int) -> list[Planned]:
    """All requests of one run, in the order of their sending; the same for the same seed.

    Raises:
        ValueError: the popularity needs more adapters than there are.
    """
    count = options.requests
    if options.popularity.law == "distinct" and options.at_once is not None and options.base_share == 0:
        _check_distinct(len(names.adapters), options.at_once)
    # A stream of random numbers each: another length distribution must not change which adapters are drawn.
    adapters_rng, lengths_rng, prompts_rng, arrivals_rng = (
        np.random.Generator(np.random.PCG64(child)) for child in np.random.SeedSequence(seed).spawn(4)
    )
    picks = options.popularity.draw(len(names.adapters), count, adapters_rng)
    picks = with_base_share(picks, options.base_share, adapters_rng)
    lengths = options.prompt.draw(count, lengths_rng)
    outputs = options.output.draw(count, lengths_rng)
    prompts = [_prompt(options, length, prompts_rng) for length in lengths]
    due: list[float] | list[None] = [None] * count
    if options.rate is not None:
        due = arrival_times(options.rate, options.burstiness, count, arrivals_rng)
    return [
        Planned(
            model=names.name(pick),
            adapter=pick,
            prompt=prompt,
            output_tokens=output,
            due=when,
            body=_body(options, names.name(pick), pick, prompt, output),
        )
        for pick, prompt, output, when in zip(picks, prompts, outputs, due, strict=True)
    ]


def _check_distinct(adapters: int, at_once: int) -> None:
    if adapters < at_once:
        raise ValueError(f"popularity distinct: {at_once} requests at once need as many adapters, there are {adapters}")


def _prompt(options: LoadOptions, tokens: int, rng: np.random.Generator) -> list[int] | str:
    return random_words(tokens, rng) if options.endpoint == "chat" else random_ids(tokens, *options.token_ids, rng)


def _body(options: LoadOptions, model: str, adapter: int | None, prompt: list[int] | str, output: int) -> bytes:
    fields: dict[str, Any] = {
        "model": model,
        "max_tokens": output,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if options.endpoint == "chat":
        fields["messages"] = [{"role": "user", "content": prompt}]
    else:
        fields["prompt"] = prompt
    if options.ignore_eos:
        fields["ignore_eos"] = True
    fields.update(extra_fields(options.extra, adapter))
    # A field set to null by --extra is one that this server refuses.
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})

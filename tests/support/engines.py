"""An engine in this process: the real one, without sockets, stepped by hand."""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loraplex_adapters.catalog import Catalog
from loraplex_server.engine.build import build_engine
from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.messages import AdapterUse, Delta, Failed, GenerateRequest, SamplingParams, Started
from support.checkpoints import VOCAB


@dataclass
class Output:
    """What one answer came to."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    started: Started | None = None
    finish_reason: str | None = None
    failure: Failed | None = None


def make_engine(model: Path, **options: Any) -> EngineCore:
    """A small float32 engine on the CPU."""
    defaults = {
        "device": "cpu",
        "dtype": "float32",
        "kv_cache_memory": 8 << 20,
        "adapter_memory": 16 << 20,  # all of it is touched at the start
        "block_size": 8,
        "threads": min(2, os.cpu_count() or 1),
    }
    return build_engine(EngineConfig(model=str(model), **(defaults | options)), wake=lambda: None)[0]


def request(
    request_id: str,
    prompt: Sequence[int],
    adapters: Iterable[str | tuple[str, float]] = (),
    *,
    root: Path | None = None,
    n: int = 1,
    **sampling: Any,
) -> GenerateRequest:
    """A greedy request of 8 tokens with logprobs, unless told otherwise."""
    catalog = Catalog(root)
    weighted = [(each, 1.0) if isinstance(each, str) else each for each in adapters]
    return GenerateRequest(
        request_id=request_id,
        prompt_token_ids=list(prompt),
        n=n,
        adapters=tuple(AdapterUse(catalog.resolve(name), weight) for name, weight in weighted),
        sampling=SamplingParams(**({"max_tokens": 8, "temperature": 0.0, "logprobs": 0} | sampling)),
    )


def any_options(draw: random.Random) -> dict[str, Any]:
    """Of those that decide when an answer ends, and what of it is told."""
    return {
        "max_tokens": draw.choice([0, 1, 2, 9, 39, 39]),
        "temperature": draw.choice([0.0, 0.8]),
        "seed": draw.randrange(10**6),
        "logprobs": draw.choice([None, 0, 2]),
        "stop_token_ids": tuple(draw.sample(range(VOCAB), draw.choice([0, 8]))),
        "min_tokens": draw.choice([0, 3]),
        "presence_penalty": draw.choice([0.0, 0.0, 0.0, 0.7]),
    }


def run(core: EngineCore, requests: Iterable[GenerateRequest]) -> dict[tuple[str, int], Output]:
    """Submit everything at once, step until nothing is left, and check that nothing stayed behind."""
    outputs: dict[tuple[str, int], Output] = defaultdict(Output)
    for each in requests:
        collect(core.submit(each), outputs)
    while core.has_work:
        collect(step(core), outputs)
    core.check_integrity()
    return outputs


def step(core: EngineCore) -> list[Delta | Failed]:
    """One step. One that computes nothing gives way to the threads that load, which it would only keep from it."""
    events = core.step()
    if not core.computed:
        time.sleep(0.0002)
    return events


def collect(events: Iterable[Delta | Failed], outputs: dict[tuple[str, int], Output]) -> None:
    """Add events to the answers that they belong to; a second terminal event is an error."""
    for event in events:
        if isinstance(event, Failed):
            outputs[event.request_id, 0].failure = event
            continue
        output = outputs[event.request_id, event.index]
        if output.finish_reason is not None:
            raise AssertionError(f"{event.request_id} goes on after its end")
        output.tokens += event.token_ids
        output.logprobs += [each.logprob for each in event.logprobs or []]
        output.started = output.started or event.started
        output.finish_reason = event.finish_reason

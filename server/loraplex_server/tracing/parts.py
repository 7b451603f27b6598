"""What a request waited for, one after the other: parts of its time, as spans inside of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from loraplex_server.api.record import RequestRecord
from loraplex_server.engine.messages import Started
from loraplex_server.metrics.timeline import Phases
from loraplex_server.tracing.attributes import Value
from loraplex_server.tracing.outcome import error_type

FETCH, QUEUE, LOAD, PREFILL, DECODE = "fetch_adapter", "queue", "load_adapter", "prefill", "decode"
MOST_PROMPTS = 16  # of one request, that have spans of their own


class Part(NamedTuple):
    """Args: start, end: by time.perf_counter. error: what ended it, where it was not done."""

    name: str
    start: float
    end: float
    attributes: dict[str, Value]
    error: str | None = None


def parts_of(record: RequestRecord, now: float) -> Iterator[Part]:
    """First `fetch_adapter` for each that lay elsewhere, then of each prompt: `queue`, in it `load_adapter` for each
    adapter, `prefill`, `decode`."""
    for wait in record.fetches:
        yield Part(FETCH, max(wait.end - wait.seconds, record.arrival), wait.end, {"loraplex.adapter.name": wait.name})
    for number, phases in enumerate(record.phases[:MOST_PROMPTS]):
        place: dict[str, Value] = {"loraplex.prompt.index": number} if len(record.phases) > 1 else {}
        if phases.started is None or phases.first is None:
            yield _unbegun(record, phases, now, place)
        else:
            yield from _begun(record, phases, phases.started, phases.first, place)


def _begun(
    record: RequestRecord, phases: Phases, started: Started, first: float, place: dict[str, Value]
) -> Iterator[Part]:
    scheduled = max(first - started.prefill_s, phases.sent)
    arrived = max(scheduled - started.queue_s, phases.sent)
    yield Part(QUEUE, arrived, scheduled, place)
    loaded = min(arrived + started.load_s, scheduled)
    generations = started.generation.split("+")
    for name, generation, origin in zip(record.adapters, generations, started.origins, strict=False):
        adapter: dict[str, Value] = {
            "loraplex.adapter.name": name,
            "loraplex.adapter.generation": generation[:12],
            "loraplex.adapter.origin": origin,
        }
        yield Part(LOAD, arrived, loaded, place | adapter)
    tokens: dict[str, Value] = {
        "gen_ai.usage.input_tokens": phases.prompt_tokens,
        "gen_ai.usage.cache_read.input_tokens": started.cached_tokens,
    }
    yield Part(PREFILL, scheduled, first, place | tokens)
    if phases.last is not None and (record.asked is None or record.asked.operation != "embeddings"):
        yield Part(DECODE, first, phases.last, place, error_type(record))


def _unbegun(record: RequestRecord, phases: Phases, now: float, place: dict[str, Value]) -> Part:
    """It got no further: its adapter could not be loaded, its time was over, or its client left."""
    if record.outcome == "adapter_refused":
        names: dict[str, Value] = {"loraplex.adapter.name": "+".join(record.adapters)}
        return Part(LOAD, phases.sent, now, place | names, record.outcome)
    return Part(QUEUE, phases.sent, now, place, record.final_outcome)

"""A run's requests, submitted to an engine that is stepped by hand."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from threading import Event as Signal

from loraplex_adapters.source import AdapterSource
from loraplex_server.bench.load.trace import Trace
from loraplex_server.bench.load.workload import Planned
from loraplex_server.engine.core import EngineCore, Event
from loraplex_server.engine.messages import AdapterUse, Delta, Failed, GenerateRequest, SamplingParams

# While requests wait for adapters, and no loader has said anything.
LOADING_POLL_S = 0.005


class Drive:
    """Makes runs on one engine.

    Args:
        core: the engine.
        sources: of the adapters, in the order of their indices.
        woken: set by the engine's loaders when an adapter came in.
        end_tokens: end an answer; none where answers are as long as asked for.
    """

    def __init__(
        self, core: EngineCore, sources: Sequence[AdapterSource], woken: Signal, end_tokens: Sequence[int] = ()
    ) -> None:
        self._core = core
        self._sources = sources
        self._woken = woken
        self._end_tokens = tuple(end_tokens)
        self._traces: dict[str, Trace] = {}
        self._submitted = 0

    def run(self, planned: Sequence[Planned], at_once: int | None) -> list[Trace]:
        """The traces of all requests, in the order of their submission.

        Args:
            planned: the requests.
            at_once: closed loop: so many in flight; None: each when it is due, however many are.
        """
        waiting, traces, start = deque(planned), list[Trace](), time.perf_counter()
        while waiting or self._traces:
            now = time.perf_counter()
            while waiting and self._may_go(waiting[0], now - start, at_once):
                traces.append(self._submit(waiting.popleft(), start))
            if not self._core.has_work:
                if waiting:  # nothing to compute until the next one is due
                    time.sleep(max(0.0, start + (waiting[0].due or 0.0) - time.perf_counter()))
                continue
            self._take(self._core.step())
            if not self._core.computed and self._core.has_work:
                self._woken.wait(LOADING_POLL_S)
                self._woken.clear()
        return traces

    def _may_go(self, request: Planned, elapsed: float, at_once: int | None) -> bool:
        return len(self._traces) < at_once if at_once is not None else (request.due or 0.0) <= elapsed

    def _submit(self, request: Planned, start: float) -> Trace:
        if isinstance(request.prompt, str):
            raise TypeError("an engine takes token ids, no words")
        now = time.perf_counter()
        trace = Trace(request, start=now if request.due is None else start + request.due, sent=now)
        name = f"bench-{self._submitted}"
        self._submitted += 1
        self._traces[name] = trace
        uses = () if request.adapter is None else (AdapterUse(self._sources[request.adapter]),)
        sampling = SamplingParams(max_tokens=request.output_tokens, temperature=0.0, stop_token_ids=self._end_tokens)
        message = GenerateRequest(
            request_id=name, prompt_token_ids=list(request.prompt), adapters=uses, sampling=sampling
        )
        self._take(self._core.submit(message))
        return trace

    def _take(self, events: Iterable[Event]) -> None:
        now = time.perf_counter()
        for event in events:
            if isinstance(event, Failed):
                trace = self._traces.pop(event.request_id)
                trace.error, trace.detail = event.kind, event.message
            elif isinstance(event, Delta):
                self._note(event, now)

    def _note(self, delta: Delta, now: float) -> None:
        trace = self._traces[delta.request_id]
        if delta.token_ids:
            trace.times.append(now)
            trace.counts.append(len(delta.token_ids))
        if delta.finish_reason is not None:
            trace.finished = now
            trace.prompt_tokens, trace.output_tokens = len(trace.planned.prompt), int(sum(trace.counts))
            del self._traces[delta.request_id]

"""The engine's heart: requests in, one step after the other, deltas out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from collections.abc import Sequence as Seq

import msgspec

from loraplex_adapters.store import AdapterStore
from loraplex_server.engine.choice import Choice
from loraplex_server.engine.deadlines import Deadlines
from loraplex_server.engine.flight import Flight, StepResult
from loraplex_server.engine.grammars.library import GrammarLibrary
from loraplex_server.engine.limits import InvalidRequestError, Limits
from loraplex_server.engine.messages import (
    AdapterPrepared,
    AdapterStats,
    Delta,
    EngineStats,
    Failed,
    FailureKind,
    GenerateRequest,
)
from loraplex_server.engine.pace import Pace
from loraplex_server.engine.pooling import Pool
from loraplex_server.engine.preparations import Preparations
from loraplex_server.engine.request import Request, sequences_of
from loraplex_server.engine.runner import ModelRunner
from loraplex_server.engine.scheduler import Scheduled, Scheduler
from loraplex_server.engine.seats import SeatCounts
from loraplex_server.engine.sequence import Sequence
from loraplex_server.engine.speculation.counts import DraftCounts
from loraplex_server.engine.speculation.verify import counted
from loraplex_server.engine.step_log import StepLog

Event = Delta | Failed | AdapterPrepared


class EngineCore:
    """Owns the requests in flight. Single-threaded: everything here runs between two steps or in one.

    Args:
        runner: computes a step.
        scheduler: chooses it.
        store: the adapters in memory.
        grammars: that answers follow.
        max_model_len: tokens of prompt and answer together.
        overlap: choose and launch each step before the one before it is over, so that the device never waits for the
            host. What a step gave is then told one step later, and one that was launched for a sequence which turns
            out to have ended is dropped.
    """

    def __init__(
        self,
        runner: ModelRunner,
        scheduler: Scheduler,
        store: AdapterStore,
        grammars: GrammarLibrary,
        max_model_len: int,
        *,
        overlap: bool = False,
    ) -> None:
        self.runner = runner
        self.scheduler = scheduler
        self.store = store
        self.grammars = grammars
        self.preparations = Preparations(store)
        self.limits = Limits(max_model_len, runner.model.config.vocab_size)
        self.requests: dict[str, Request] = {}
        self._pace = Pace()
        self._deadlines = Deadlines(self._pace, scheduler.seats.missing_tokens)
        self._unbound: dict[str, Request] = {}  # whose adapters are not in memory, or were not looked at yet
        self.overlap = overlap
        self._flights: deque[Flight] = deque()  # steps that were launched, and whose results nobody looked at yet
        self._step_log = StepLog()
        self.computed = False  # the last step had something to do, so the next one probably has

    @property
    def has_work(self) -> bool:
        """Whether a step could do something: nothing in flight means that the loop may sleep."""
        return bool(self.requests or self.preparations or self._flights)

    def submit(self, message: GenerateRequest) -> list[Event]:
        """Queue a request; its adapters start loading at once. An event comes back only if it cannot be served."""
        try:
            self._check(message)
        except InvalidRequestError as error:
            return [Failed(request_id=message.request_id, kind="invalid", message=str(error))]
        sequences = sequences_of(message, self.limits.max_model_len)
        leases = self.store.request_all([use.source for use in message.adapters]) if message.adapters else []
        grammar = message.sampling.grammar
        compiled = None if grammar is None else self.grammars.find(message.tokenizer, grammar)
        request = Request(message, sequences, leases, compiled)
        self.requests[message.request_id] = self._unbound[message.request_id] = request
        for sequence in sequences:
            self.scheduler.add(sequence, held=True)
        self._deadlines.add(request)
        return []

    def _check(self, message: GenerateRequest) -> None:
        if message.request_id in self.requests:
            raise InvalidRequestError(f"a request with the id '{message.request_id}' is in progress")
        self.limits.check(message)

    def abort(self, request_id: str, index: int | None) -> list[Event]:
        """End some or all answers of a request. One that has ended already stays as it is."""
        request = self.requests.get(request_id)
        if request is None:
            return []
        events: list[Event] = []
        for sequence in request.sequences:
            if sequence.finish_reason is None and index in (None, sequence.index):
                sequence.finish_reason = "abort"
                events.append(request.delta(sequence, []))
        self._retire([request])
        return events

    def step(self) -> list[Event]:
        """Let adapters in, choose tokens to compute, launch that, tell what came of the step that is over."""
        self.store.poll()
        started = time.monotonic()
        events = [*self.preparations.collect(), *self._bind_arrived(), *self._end_overdue(started)]
        if self.scheduler.must_know:
            events += self._land(0)
        plan = self.scheduler.schedule()
        if plan:
            self._mark_scheduled(plan)
            self._flights.append(self.runner.launch(plan))
            self.scheduler.advance(plan)
        self.computed = bool(self._flights)
        events += self._land(1 if plan and self.overlap else 0)
        if plan:
            self._pace.observe(*self._step_log.last, time.monotonic() - started)
        return events

    def _end_overdue(self, now: float) -> list[Event]:
        """What there is of an answer is told when its time is over; a request without any token fails."""
        events: list[Event] = []
        overdue = self._deadlines.due(now)
        for request, reason in overdue:
            if not request.answered:
                events.append(self._fail(request, reason, "deadline"))
                continue
            for sequence in request.sequences:
                if sequence.finish_reason is None:
                    sequence.finish_reason = "length"
                    events.append(msgspec.structs.replace(request.delta(sequence, []), timed_out=True))
        self._retire([request for request, _ in overdue])
        return events

    def _land(self, in_the_air: int) -> list[Event]:
        """Wait for the steps that were launched, but for the last so many, and tell what came of them."""
        events: list[Event] = []
        while len(self._flights) > in_the_air:
            flight = self._flights.popleft()
            events += self._deliver(flight.plan, flight.results())
        return events

    def _bind_arrived(self) -> list[Event]:
        """Bind the requests that have all they need, and end those that cannot be served."""
        events: list[Event] = []
        ended = []
        for request in tuple(self._unbound.values()):
            if request.adapter_error is not None:
                events.append(self._fail(request, str(request.adapter_error)))
                ended.append(request)
            elif request.ready:
                try:
                    request.bind(self.limits, self.grammars)
                except InvalidRequestError as error:
                    events.append(self._fail(request, str(error), "invalid"))
                    ended.append(request)
                else:
                    self._release(request)
        self._retire(ended)
        return events

    def _release(self, request: Request) -> None:
        del self._unbound[request.message.request_id]
        for sequence in request.sequences:
            if sequence.finish_reason is None:
                self.scheduler.release(sequence)

    def _fail(self, request: Request, message: str, kind: FailureKind = "adapter") -> Event:
        """End all answers of a request with one event; the caller retires it."""
        for sequence in request.sequences:
            sequence.finish_reason = sequence.finish_reason or "abort"
        return Failed(request_id=request.message.request_id, kind=kind, message=message)

    def _mark_scheduled(self, plan: list[Scheduled]) -> None:
        now = time.monotonic()
        self._step_log.add(plan)
        for scheduled in plan:
            if scheduled.sequence.first_scheduled is None:
                scheduled.sequence.first_scheduled = now

    def _deliver(self, plan: list[Scheduled], results: list[StepResult]) -> list[Event]:
        events: list[Event] = []
        ended: dict[str, Request] = {}
        for scheduled, result in zip(plan, results, strict=True):
            sequence = scheduled.sequence
            if sequence.finish_reason is not None:
                continue  # it ended while the step was on its way
            request = self.requests[sequence.request_id]
            request.prompt_logprobs.extend(result.prompt_logprobs)
            sequence.num_scored += len(result.prompt_logprobs)
            if result.pooled is not None and sequence.pool is not None:
                sequence.pool.add(result.pooled)
            if not scheduled.samples:
                continue
            if sequence.pool is not None:
                events.append(self._land_embedding(request, sequence, sequence.pool))
            else:
                events += self._land_choices(request, scheduled, result.choices)
            if sequence.finish_reason is not None:
                ended[sequence.request_id] = request
        self._retire(ended.values())
        return events

    def _land_choices(self, request: Request, scheduled: Scheduled, choices: Seq[Choice]) -> list[Event]:
        """Give a sequence its next tokens, as far as they count and it wants them."""
        sequence, landed = scheduled.sequence, list[Choice]()
        first = sequence.num_output == 0
        choices = counted(scheduled.draft, choices)
        self.scheduler.settle(scheduled, len(choices))
        for choice in choices:
            if choice.token is None:
                break
            self.scheduler.land(sequence, None if sequence.sampling.max_tokens == 0 else choice.token)
            landed.append(choice)
            if sequence.finish_reason is not None:
                break
        events: list[Event] = []
        if landed:
            events.append(request.delta(sequence, landed, first=first))
        if sequence.finish_reason is None and choices[-1].token is None:
            events.append(self._fail(request, *request.no_choice(sequence)))
        return events

    def _land_embedding(self, request: Request, sequence: Sequence, pool: Pool) -> Event:
        self.scheduler.land(sequence, None)
        embedding = pool.finish()
        if embedding is None:
            return self._fail(request, *request.no_choice(sequence))
        return msgspec.structs.replace(request.delta(sequence, [], first=True), embedding=embedding)

    def _retire(self, requests: Iterable[Request]) -> None:
        """Take ended sequences out, and give back a request's leases with its last one."""
        for request in list(requests):
            for sequence in request.sequences:
                if sequence.finish_reason is not None:
                    self.scheduler.remove(sequence)
            if request.finished:
                for lease in request.leases:
                    self.store.release(lease)
                del self.requests[request.message.request_id]
                self._deadlines.forget(request)
                self._unbound.pop(request.message.request_id, None)

    def forget_history(self) -> None:
        """Start all counts anew: what was answered for practice is nobody's traffic."""
        self._step_log.take()
        self.scheduler.seats.counts, self.scheduler.drafts = SeatCounts(), DraftCounts()
        self.runner.forget_replays()

    def stats(self) -> EngineStats:
        """The engine at this moment; lists are of what happened since the last call."""
        pool, scheduler, counts = self.scheduler.pool, self.scheduler, self.scheduler.seats.counts
        return EngineStats(
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            held=scheduler.waiting.num_held,
            kv_used_blocks=pool.num_used,
            kv_total_blocks=pool.num_blocks,
            preemptions_total=counts.preemptions,
            pauses_total=counts.pauses,
            deadlines_total=self._deadlines.ended,
            prefix_queries_total=counts.prefix_queries,
            prefix_hits_total=counts.prefix_hits,
            steps=self._step_log.take(),
            replays=self.runner.replay_stats(),
            drafts=scheduler.drafts.stats(),
            grammars=self.grammars.stats(),
            adapters=AdapterStats(**vars(self.store.stats())),
        )

    def close(self) -> None:
        """End the threads that load adapters and compile grammars, and the other ranks."""
        for part in (self.store, self.grammars, self.runner):
            part.close()

    def check_integrity(self) -> None:
        """Raise RuntimeError if a block or a lease is held by nobody's request. Called whenever the engine is idle."""
        self.scheduler.check_integrity()
        self.store.check_integrity()
        if not self.requests and (self.scheduler.running or self.scheduler.waiting or self.scheduler.pool.num_used):
            raise RuntimeError("the engine is idle, but sequences or blocks are not")

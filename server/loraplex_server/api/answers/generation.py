"""All the answers of one API request: one engine request for each prompt, run at once, ended together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from loraplex_adapters.errors import AdapterChangedError, AdapterError
from loraplex_server.api.adapters.adapter_outcomes import AdapterOutcomes
from loraplex_server.api.answers.answer import Answer, Piece, join
from loraplex_server.api.errors import from_domain
from loraplex_server.api.record import RequestRecord
from loraplex_server.api.structure.mask_file import MaskFile
from loraplex_server.engine.interface import Engine, EngineDeadError, EngineError
from loraplex_server.engine.messages import Delta, GenerateRequest, Started, TokenLogprob
from loraplex_server.metrics.requests import RequestMetrics
from loraplex_server.metrics.timeline import Timeline
from loraplex_server.tenants.usage import Amount

logger = logging.getLogger(__name__)

# Outcomes of requests that the engine never worked on.
UNHEARD = frozenset({"queue_full", "adapter_refused", "invalid", "not_found"})


@dataclass(frozen=True)
class Job:
    """One prompt: what the engine is asked, and the answers that it fills."""

    request: GenerateRequest
    answers: Sequence[Answer]
    timeline: Timeline
    mask_file: MaskFile  # which the request may name, and which is there as long as somebody has this

    @property
    def first_index(self) -> int:
        """Of its answers among the API request's."""
        return self.answers[0].index


class Generation:
    """Args: engine: that answers. jobs: one for each prompt. record, metrics, outcomes: told how it went, once."""

    def __init__(
        self,
        engine: Engine,
        jobs: Sequence[Job],
        record: RequestRecord,
        metrics: RequestMetrics,
        outcomes: AdapterOutcomes,
    ) -> None:
        self._engine = engine
        self._jobs = jobs
        self._record = record
        self._metrics = metrics
        self._outcomes = outcomes
        # By the job's first index. Read on threads that write bodies too.
        self._started: dict[int, Started] = {}
        self.prompt_tokens = sum(len(job.request.prompt_token_ids) for job in jobs)

    @property
    def answers(self) -> list[Answer]:
        """Of all prompts, by index."""
        return [answer for job in self._jobs for answer in job.answers]

    @property
    def output_tokens(self) -> int:
        """Of all answers so far."""
        return sum(answer.tokens for answer in self.answers)

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that were found in the cache."""
        return sum(started.cached_tokens for started in list(self._started.values()))

    @property
    def adapter_generation(self) -> str:
        """The adapters' generations, each cut to the part that people compare; "" for the base."""
        full = next((started.generation for started in list(self._started.values())), "")
        return "+".join(part[:12] for part in full.split("+"))

    def prompt_logprobs(self, index: int) -> list[TokenLogprob | None]:
        """Of the prompt that an answer with this index follows, once any of that prompt's answers began.

        Raises:
            EngineError: the engine did not send them with the first delta of the prompt's first answer.
        """
        started = self._started.get(index - index % len(self._jobs[0].answers))
        if started is None or started.prompt_logprobs is None:
            raise EngineError("the engine sent no log probabilities of the prompt")
        return started.prompt_logprobs

    async def run(self) -> AsyncGenerator[list[Piece], None]:
        """Pieces as they come, at most one of each answer at a time. Closing it aborts what still runs.

        Raises:
            EngineError: nothing comes after; the other prompts' answers are aborted.
        """
        outcome = "cancelled"
        source = self._one(self._jobs[0]) if len(self._jobs) == 1 else self._all()
        try:
            async with aclosing(source):
                async for batch in source:
                    yield batch
            outcome = ",".join(sorted({str(answer.finish_reason) for answer in self.answers}))
        except (EngineError, AdapterError) as error:
            answer = from_domain(error)
            outcome = answer.outcome
            if outcome == "adapter_refused" and len(self._record.adapters) == 1:
                self._outcomes.failed(self._record.adapters[0], answer.message)
            if answer.message != str(error):
                logger.warning("request %s: %s", self._record.request_id, error)
            raise
        except Exception:
            outcome = "error"
            raise
        finally:
            self._account(outcome)

    async def _one(self, job: Job) -> AsyncGenerator[list[Piece], None]:
        left = computed = len(job.answers)  # answers that are not done, for the client and in the engine
        # The seam promises an iterator that can be closed; its type in typing is a generator.
        deltas = cast("AsyncGenerator[Delta, None]", self._engine.generate(job.request))
        async with aclosing(deltas):
            async for delta in deltas:
                answer = job.answers[delta.index]
                computed -= delta.finish_reason is not None
                if answer.finish_reason is not None:
                    continue  # computed before the engine heard of the stop string
                if delta.started is not None:
                    self._note_start(job, delta.started)
                before = answer.tokens
                piece = answer.take(delta)
                if self._record.spoken is not None:
                    self._record.spoken.answered(piece.index, _said(piece))
                job.timeline.tokens(answer.index, answer.tokens - before, delta.started)
                if answer.finish_reason is not None:
                    left -= 1
                    job.timeline.ended(answer.index, answer.tokens, answer.finish_reason)
                    if delta.finish_reason is None:
                        await self._engine.abort(job.request.request_id, delta.index)
                yield [piece]
                if not left and computed:
                    return  # what the engine still computes is behind stop strings: closing ends it
        if left:
            raise EngineError("the engine ended the request without finishing it")

    def _note_start(self, job: Job, started: Started) -> None:
        """Raises AdapterChangedError where the prompts of one request meet different versions of an adapter."""
        for other in list(self._started.values()):
            if other.generation != started.generation:
                raise AdapterChangedError("the adapter was replaced while the request began; send it again")
        self._started.setdefault(job.first_index, started)

    async def _all(self) -> AsyncGenerator[list[Piece], None]:
        """The jobs' pieces merged. A consumer that is slow gets several steps' text as one piece."""
        inbox = _Inbox()
        tasks = [asyncio.create_task(self._pump(job, inbox)) for job in self._jobs]
        try:
            left = len(tasks)
            while left:
                pieces, ended = await inbox.take()
                left -= ended
                if pieces:
                    yield join(pieces)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(self, job: Job, inbox: _Inbox) -> None:
        try:
            async with aclosing(self._one(job)) as batches:
                async for batch in batches:
                    inbox.put(batch)
        except Exception as error:
            inbox.fail(error)
        except BaseException:  # cancelled from below: without a word, the consumer would wait for ever
            inbox.fail(EngineDeadError("the engine ended while it held the request"))
            raise
        else:
            inbox.end()

    def _account(self, outcome: str) -> None:
        record = self._record
        record.outcome = outcome
        record.prompt_tokens, record.output_tokens = self.prompt_tokens, self.output_tokens
        record.phases = [job.timeline.phases for job in self._jobs]
        record.finish_reasons = tuple(answer.finish_reason for answer in self.answers if answer.finish_reason)
        first = next(iter(self._started.values()), None)
        if first is not None:
            self._outcomes.answered([use.source for use in self._jobs[0].request.adapters], first.generation)
            record.cached_tokens = self.cached_tokens
            times = (job.timeline.ttft_s for job in self._jobs)
            record.ttft_s = min((time for time in times if time is not None), default=None)
            record.generation = self.adapter_generation
        if outcome not in UNHEARD:
            reason = "abort" if outcome == "cancelled" else "error"
            for job in self._jobs:
                for answer in job.answers:
                    if answer.finish_reason is None:
                        job.timeline.ended(answer.index, answer.tokens, reason)
        prompt_tokens = self.prompt_tokens if self._started else 0
        if outcome not in UNHEARD:
            record.used = Amount(1, prompt_tokens, self.cached_tokens, self.output_tokens)
        self._metrics.adapter_request(record.adapters, outcome, prompt_tokens, self.output_tokens)


def _said(piece: Piece) -> str:
    """Text and calls, as the log shows them."""
    if not piece.parts:
        return piece.text
    return "".join(part if isinstance(part, str) else f"{part.name or ''}{part.arguments}" for part in piece.parts)


class _Inbox:
    """What several jobs produced since the consumer last looked."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self._ended = 0
        self._error: Exception | None = None
        self._news = asyncio.Event()

    def put(self, pieces: list[Piece]) -> None:
        self._pieces += pieces
        self._news.set()

    def end(self) -> None:
        self._ended += 1
        self._news.set()

    def fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._news.set()

    async def take(self) -> tuple[list[Piece], int]:
        """Pieces, and how many jobs ended; raises the first error instead."""
        await self._news.wait()
        self._news.clear()
        if self._error is not None:
            raise self._error
        pieces, self._pieces = self._pieces, []
        ended, self._ended = self._ended, 0
        return pieces, ended


async def collect(batches: AsyncIterator[list[Piece]]) -> list[Piece]:
    """All answers whole, by index."""
    pieces = [piece async for batch in batches for piece in batch]
    return sorted(join(pieces), key=lambda piece: piece.index)

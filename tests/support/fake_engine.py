"""An engine behind the API's seam that says what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from loraplex_adapters.source import AdapterSource
from loraplex_server.engine.interface import EngineError, PreparedAdapter
from loraplex_server.engine.messages import Delta, EngineInfo, EngineStats, GenerateRequest, Started, TokenLogprob

INFO = EngineInfo(
    model="test",
    architecture="LlamaForCausalLM",
    device="cpu",
    dtype="float32",
    quantization="none",
    max_model_len=256,
    vocab_size=512,
    block_size=16,
    num_blocks=64,
    kv_cache_bytes=1 << 20,
    weights_bytes=1 << 20,
    adapter_memory_bytes=1 << 20,
    max_num_seqs=8,
    max_num_batched_tokens=512,
    pid=1,
)

Script = Callable[[GenerateRequest, int], list[int]]


def logprob_of(token_id: int, position: int, count: int) -> TokenLogprob:
    """Made up, but the same for the same token at the same place."""
    top = [(token_id, -0.25 * (position + 1))] + [((token_id + k) % 512, -1.0 - k) for k in range(1, count)]
    return TokenLogprob(token_id=token_id, logprob=-0.25 * (position + 1), rank=1, top=top[:count])


def embedding_of(request: GenerateRequest) -> bytes:
    """Made up of the prompt and the way of pooling."""
    return array(
        "f", [len(request.prompt_token_ids), request.prompt_token_ids[-1], request.pooling == "mean", 3]
    ).tobytes()


@dataclass
class FakeEngine:
    """Each answer is `script(request, index)`, cut at a stop token or max_tokens as the real one would.

    `per_delta` tokens come at a time, `delay` seconds apart. `fail_after` deltas of a request, `failure` is raised, for
    requests that `fails` picks. With a `gate`, no request gets past its first `gate_after` deltas until it is set;
    so many as wait there are `held`. `stop_at` shuts it later.
    """

    script: Script
    info: EngineInfo | None = INFO
    stats: EngineStats = field(default_factory=EngineStats)
    healthy: bool = True
    restarts: int = 0
    per_delta: int = 1
    delay: float = 0.0
    failure: EngineError | Exception | None = None
    fail_after: int = 0
    fails: Callable[[GenerateRequest], bool] = lambda _: True
    gate: asyncio.Event | None = None
    gate_after: int = 0
    held: int = 0
    stops_at: int = 0
    generation: str = ""
    ends_by_grammar: bool = False  # nothing may follow the script
    times_out_after: int | None = None  # deltas of an answer; its end holds no tokens
    refusals: dict[str, EngineError] = field(default_factory=dict)  # by name, what preparing it raises
    prepared: list[tuple[AdapterSource, bool]] = field(default_factory=list)  # and whether it was to be pinned
    pins: dict[str, AdapterSource] = field(default_factory=dict)
    requests: list[GenerateRequest] = field(default_factory=list)
    aborts: list[tuple[str, int]] = field(default_factory=list)
    closed_early: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    heard: Callable[[EngineInfo | None, EngineStats], None] | None = None

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "stats" and self.heard is not None:
            self.heard(self.info, self.stats)

    def tell(self, heard: Callable[[EngineInfo | None, EngineStats], None]) -> None:
        self.heard = heard

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        self.requests.append(request)
        if self.gate is not None and len(self.requests) == self.stops_at:
            self.gate.clear()
        answers = [self._deltas(request, index) for index in range(request.n)]
        sent = 0
        done = False
        try:
            while any(answers):
                for index, left in enumerate(answers):
                    if not left:
                        continue
                    await self._wait(request, sent)
                    if (request.request_id, index) in self.aborts:
                        answers[index] = []
                        yield Delta(request_id=request.request_id, index=index, token_ids=[], finish_reason="abort")
                        continue
                    sent += 1
                    yield left.pop(0)
            done = True
        except EngineError:
            done = True
            raise
        finally:
            (self.finished if done else self.closed_early).append(request.request_id)

    def stop_at(self, count: int) -> None:
        """Stand still from the so-manyth request on, with all that is unfinished then, until `go_on`."""
        self.gate, self.stops_at = asyncio.Event(), count
        self.gate.set()

    def go_on(self) -> None:
        """For who comes now; whoever waits at the gate stays there."""
        self.gate, self.stops_at = None, 0

    async def abort(self, request_id: str, index: int) -> None:
        self.aborts.append((request_id, index))

    async def prepare(self, source: AdapterSource, *, pin: bool) -> PreparedAdapter:
        self.prepared.append((source, pin))
        if source.name in self.refusals:
            raise self.refusals[source.name]
        if pin:
            self.pins[source.name] = source
        return PreparedAdapter(generation=f"generation of {source.path} {source.fingerprint}", nbytes=1000)

    async def unpin(self, name: str) -> None:
        self.pins.pop(name, None)

    async def _wait(self, request: GenerateRequest, sent: int) -> None:
        if self.failure is not None and sent >= self.fail_after and self.fails(request):
            raise self.failure
        if self.gate is not None and sent >= self.gate_after:
            self.held += 1
            try:
                await self.gate.wait()
            finally:
                self.held -= 1
        await asyncio.sleep(self.delay)

    def _deltas(self, request: GenerateRequest, index: int) -> list[Delta]:
        sampling = request.sampling
        ids, reason = [], "length"
        for token_id in self.script(request, index)[: sampling.max_tokens]:
            ids.append(token_id)
            if token_id in sampling.stop_token_ids and len(ids) > sampling.min_tokens:
                reason = "stop"
                break
        by_grammar = self.ends_by_grammar and reason == "length"
        if by_grammar:
            reason = "stop"
        groups = [ids[i : i + self.per_delta] for i in range(0, len(ids), self.per_delta)] or [[]]
        deltas = []
        for number, group in enumerate(groups):
            start = number * self.per_delta
            count = sampling.logprobs
            logprobs = None if count is None else [logprob_of(id, start + k, count) for k, id in enumerate(group)]
            deltas.append(
                Delta(
                    request_id=request.request_id,
                    index=index,
                    token_ids=group,
                    logprobs=logprobs,
                    started=self._started(request, index) if number == 0 else None,
                    finish_reason=reason if number == len(groups) - 1 else None,
                    ended_by_grammar=by_grammar and number == len(groups) - 1,
                    embedding=None if request.pooling is None else embedding_of(request),
                )
            )
        if self.times_out_after is not None:
            over = Delta(
                request_id=request.request_id, index=index, token_ids=[], finish_reason="length", timed_out=True
            )
            return [*deltas[: self.times_out_after], over]
        return deltas

    def _started(self, request: GenerateRequest, index: int) -> Started:
        count = request.sampling.prompt_logprobs if index == 0 else None  # sent once for all answers
        prompt = request.prompt_token_ids
        logprobs = None if count is None else [None, *(logprob_of(id, k, count) for k, id in enumerate(prompt[1:]))]
        return Started(
            queue_s=0.5,
            prefill_s=0.25,
            cached_tokens=1,
            generation=self.generation,
            load_s=0.125 if request.adapters else 0.0,
            origins=("disk",) * len(request.adapters),
            prompt_logprobs=logprobs,
        )

"""The engine without its processes and its HTTP: what serves, called directly."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from loraplex_adapters.source import AdapterSource
from loraplex_adapters.store import AdapterStore
from loraplex_kernels.attention.cache import allocate
from loraplex_kernels.lora import AdapterTable
from loraplex_server.bench.engine.drive import LOADING_POLL_S
from loraplex_server.engine.block_pool import BlockPool
from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.cores import usable_cores
from loraplex_server.engine.grammars.library import GrammarLibrary
from loraplex_server.engine.graphs.build import decode_graphs, decode_tapes
from loraplex_server.engine.loaders import loader_threads
from loraplex_server.engine.messages import AdapterUse, Delta, Failed, GenerateRequest, SamplingParams
from loraplex_server.engine.runner import ModelRunner
from loraplex_server.engine.scheduler import Scheduler
from loraplex_server.models.decoder import Decoder

BLOCK = 16  # tokens of a block of the KV cache
SLOTS = 1024  # rows of the adapter table, so that it need not grow away from the graphs
STEP_TOKENS = 4096
WARM = 4  # steps before those that are timed
WAIT_S = 5e-5  # while a request waits for its adapter: an engine that never sleeps keeps Python's lock from the loader


@dataclass(frozen=True)
class StepTime:
    """Of a decode step: the median of the means of several repeats."""

    repeats: tuple[float, ...]  # seconds

    @property
    def seconds(self) -> float:
        """The one of the middle, whose contexts have the length that is asked for."""
        return statistics.median(self.repeats)


def make_core(
    model: Decoder,
    device: torch.device,
    dtype: torch.dtype,
    *,
    sequences: int,
    length: int,
    adapter_bytes: int,
    host_bytes: int = 0,
    graphs: bool = True,
    slots: int = SLOTS,
) -> EngineCore:
    """Wired as `loraplex_server.engine.build` does it, without prefix caching, which would spare what is to be timed.

    Args:
        model: that serves.
        device: where it is.
        dtype: of its activations.
        sequences: most at once.
        length: tokens of the longest.
        adapter_bytes: budget of the adapters.
        host_bytes: of those that left the device.
        graphs: whether decode steps are replayed, from graphs or from tapes, where they can be.
        slots: of the adapter table.
    """
    shape, blocks = model.config, sequences * (-(-length // BLOCK) + 1)
    cache = allocate(shape.num_layers, blocks, shape.num_kv_heads, BLOCK, shape.head_dim, dtype, device)
    table = AdapterTable(slots, len(model.sites), dtype, device)
    store = AdapterStore(
        base=model,
        table=table,
        budget_bytes=adapter_bytes,
        host_budget_bytes=host_bytes,
        loader_threads=loader_threads(device, usable_cores()),
    )
    scheduler = Scheduler(
        BlockPool(blocks, caching=False),
        block_size=BLOCK,
        max_num_seqs=sequences,
        max_num_batched_tokens=max(STEP_TOKENS, sequences),
    )
    runner = ModelRunner(model, cache, BLOCK, table)
    if graphs:
        replay = decode_graphs if device.type == "cuda" else decode_tapes
        runner.graphs = replay(model, cache, table, max_rows=sequences, max_context=length)
    grammars = GrammarLibrary(wake=lambda: None, threads=1)  # nobody asks for any
    return EngineCore(runner, scheduler, store, grammars, length, overlap=device.type == "cuda")


def submit(
    core: EngineCore,
    name: str,
    prompt: int,
    answer: int,
    adapter: AdapterSource | None,
    seed: int = 0,
    logprobs: int | None = None,
) -> GenerateRequest:
    """One greedy request that ends with its last token and no sooner.

    Raises:
        RuntimeError: it is not taken.
    """
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, core.runner.model.config.vocab_size, (prompt,), generator=generator).tolist()
    uses = () if adapter is None else (AdapterUse(adapter),)
    sampling = SamplingParams(max_tokens=answer, temperature=0.0, logprobs=logprobs)
    request = GenerateRequest(request_id=name, prompt_token_ids=tokens, sampling=sampling, adapters=uses)
    refused = core.submit(request)
    if refused:
        raise RuntimeError(f"request {name} was refused: {refused}")
    return request


def step(core: EngineCore) -> list[Delta]:
    """One step's deltas.

    Raises:
        RuntimeError: a request failed.
    """
    events = core.step()
    failed = [event.message for event in events if isinstance(event, Failed)]
    if failed:
        raise RuntimeError(f"a request failed: {failed[0]}")
    return [event for event in events if isinstance(event, Delta)]


def drain(core: EngineCore) -> None:
    """End what is in flight, and see that nothing is left behind."""
    for name in list(core.requests):
        core.abort(name, None)
    while core.has_work:
        core.step()
    core.check_integrity()


def load(core: EngineCore, adapters: Iterable[AdapterSource | None]) -> None:
    """Have adapters in memory before anything is timed."""
    for number, adapter in enumerate(dict.fromkeys(adapters)):
        submit(core, f"load-{number}", 1, 1, adapter)
    while core.has_work:
        step(core)
        if not core.computed:
            time.sleep(LOADING_POLL_S)  # a loop that never sleeps would keep a processor from the loader


def answer_tokens(batch: int, context: int, steps: int) -> int:
    """Enough for the rows whose prompts are computed first to go on until the last ones' are, and `steps` more."""
    return steps + 2 * WARM + 2 + -(-batch * context // (STEP_TOKENS // 2))


def decode_time(
    core: EngineCore, context: int, adapters: Sequence[AdapterSource | None], steps: int, repeats: int
) -> StepTime:
    """Of a decode step, one row for each of `adapters`, all of them with about `context` tokens behind them.

    The repeats follow one another on the same sequences, so that prompts are computed once; they grow by `steps` tokens
    in each, and have `context` in the middle.

    Raises:
        RuntimeError: a row failed or ended early.
    """
    load(core, adapters)
    in_all = steps * repeats
    answer = answer_tokens(len(adapters), context, in_all)
    for row, adapter in enumerate(adapters):
        submit(core, f"row-{row}", max(1, context - in_all // 2), answer, adapter, seed=row)
    waiting = {f"row-{row}" for row in range(len(adapters))}
    while waiting:
        waiting -= {delta.request_id for delta in step(core)}
    for _ in range(WARM):
        step(core)
    seconds, tokens = [], 0
    for _ in range(repeats):
        begin = _now(core)
        for _ in range(steps):
            tokens += sum(len(delta.token_ids) for delta in step(core))
        seconds.append((_now(core) - begin) / steps)
    running = len(core.requests)
    drain(core)
    if running != len(adapters) or tokens != in_all * len(adapters):
        raise RuntimeError(f"{in_all} steps of {len(adapters)} rows gave {tokens} tokens, and {running} still ran")
    return StepTime(tuple(seconds))


def first_token_seconds(core: EngineCore, prompt: int, adapter: AdapterSource, seed: int) -> float:
    """From a request to its first token, with nothing else in the engine."""
    begin = _now(core)
    submit(core, "first", prompt, 1, adapter, seed)
    while not step(core):
        if not core.computed:
            time.sleep(WAIT_S)
    seconds = time.perf_counter() - begin
    drain(core)
    return seconds


def _now(core: EngineCore) -> float:
    if core.runner.device.type == "cuda":
        torch.cuda.synchronize(core.runner.device)
    return time.perf_counter()

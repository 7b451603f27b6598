"""Put an engine together from its configuration."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from loraplex_adapters.store import AdapterStore
from loraplex_kernels import native
from loraplex_server.engine.block_pool import BlockPool
from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.cores import usable_cores
from loraplex_server.engine.device import rank_cores, rank_device, room_for, set_threads
from loraplex_server.engine.errors import EngineStartError
from loraplex_server.engine.grammars.library import GrammarLibrary
from loraplex_server.engine.loaders import loader_threads
from loraplex_server.engine.make_runner import add_replays, make_runner
from loraplex_server.engine.memory import MemoryPlan, plan_memory
from loraplex_server.engine.memory_report import memory_report
from loraplex_server.engine.messages import EngineInfo, GenerateRequest, SamplingParams
from loraplex_server.engine.parallel.lead import Lead, end_process
from loraplex_server.engine.parallel.nobody import NoOthers
from loraplex_server.engine.parallel.start import start_others
from loraplex_server.engine.scheduler import Scheduler
from loraplex_server.engine.served import Served, load_served
from loraplex_server.engine.speculation.settings import SpeculationSettings
from loraplex_server.engine.speculation.spare_rows import measured_spare_rows
from loraplex_server.engine.speculation.speculation import Speculation
from loraplex_server.models.errors import ModelError
from loraplex_server.models.mapped import trim_heap

logger = logging.getLogger(__name__)

# A mask takes tens of microseconds; more threads would only be in the way of the step.
MASK_THREADS = 4


def build_engine(
    config: EngineConfig,
    wake: Callable[[], None],
    gone: Callable[[str], None] = end_process,
    folder: Path | None = None,
) -> tuple[EngineCore, EngineInfo]:
    """Load the model, size the caches, wire the parts, and answer one request for practice.

    Args:
        config: what to build.
        wake: called from a loader thread when an adapter came in, so that a sleeping loop looks.
        gone: told from a thread why another rank of the model is gone; this one may wait for it in vain.
        folder: for files that the ranks share; see `Lead`.

    Raises:
        EngineStartError: a setting does not fit the machine or the model.
        ModelError: the model is not supported, or its files are wrong.
        ValueError: a setting is out of the model's range.
    """
    started = time.monotonic()
    set_threads(config)
    device = rank_device(config, 0)
    others = start_others(config, gone, folder)
    try:
        core, info = _build(config, device, others, wake)
    except (EngineStartError, ModelError, ValueError):
        others.close()
        raise
    except BaseException as error:
        why = others.lost()  # this rank's is then only what came of it
        others.close()
        if why:
            raise EngineStartError(why) from error
        raise
    _tell_of_rounding(config)
    logger.info("engine ready in %.1f s; %s; %s", time.monotonic() - started, native.status(), info)
    return core, info


def _build(
    config: EngineConfig, device: torch.device, others: Lead | NoOthers, wake: Callable[[], None]
) -> tuple[EngineCore, EngineInfo]:
    served = load_served(config, device, others.join(device))
    others.wait_loaded()
    others.measure()
    needs = served.needs()
    longest = served.model.config.max_model_len
    memory = plan_memory(config, longest, served.block_bytes, device, needs, others.spare())
    with room_for("what it was shared out to", "lower --kv-cache-memory or --adapter-memory"):
        others.allocate(memory.num_blocks, memory.max_model_len, memory.adapter_host_bytes)
        served.model.serve_up_to(memory.max_model_len)
        core = _wire(served, memory, others, wake)
        add_replays(core.runner, served, memory.max_model_len)
        others.wait_ready()
        _warm(core)
    trim_heap()
    logger.info("%s", memory_report(memory, needs, served.model.weights_nbytes, config.block_size))
    return core, _info(config, core, memory, device, served.dtype)


def _info(
    config: EngineConfig, core: EngineCore, memory: MemoryPlan, device: torch.device, dtype: torch.dtype
) -> EngineInfo:
    model = core.runner.model
    return EngineInfo(
        model=config.model,
        architecture=model.config.architecture,
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
        quantization=model.quantization,
        max_model_len=memory.max_model_len,
        vocab_size=model.config.vocab_size,
        block_size=config.block_size,
        num_blocks=memory.num_blocks,
        kv_cache_bytes=memory.kv_cache_bytes,
        weights_bytes=model.weights_nbytes,
        adapter_memory_bytes=memory.adapter_bytes,
        adapter_host_memory_bytes=memory.adapter_host_bytes,
        max_num_seqs=config.max_num_seqs,
        max_num_batched_tokens=core.scheduler.max_num_batched_tokens,
        pid=os.getpid(),
    )


def _tell_of_rounding(config: EngineConfig) -> None:
    if config.adapter_dtype == "int8":
        logger.warning("--adapter-dtype int8: adapters are rounded while they are loaded; answers are close, not exact")
    if config.kv_cache_dtype != "auto":
        logger.warning("--kv-cache-dtype fp8: keys and values are rounded; answers are close, not exact")


def _wire(served: Served, memory: MemoryPlan, others: Lead | NoOthers, wake: Callable[[], None]) -> EngineCore:
    config, device = served.config, served.device
    runner = make_runner(served, memory.num_blocks, others)
    store = AdapterStore(
        base=served.model.base,
        table=runner.table,
        budget_bytes=memory.adapter_bytes,
        host_budget_bytes=memory.adapter_host_bytes,
        # What was asked for is had, what was guessed grows with its use. A GPU's own memory is not claimed.
        claim=(config.adapter_memory if device.type == "cpu" else config.adapter_host_memory) is not None,
        loader_threads=loader_threads(device, rank_cores(config)),
        on_ready=wake,
        shard=served.model.shard,
        peers=others,
    )
    drafts = SpeculationSettings.of(config)
    scheduler = Scheduler(
        BlockPool(memory.num_blocks, caching=config.enable_prefix_caching),
        block_size=config.block_size,
        max_num_seqs=config.max_num_seqs,
        max_num_batched_tokens=served.sizes(memory.max_model_len).tokens,
        speculation=None if drafts is None else Speculation(drafts),
    )
    return EngineCore(
        runner,
        scheduler,
        store,
        GrammarLibrary(wake, min(usable_cores(), MASK_THREADS)),
        memory.max_model_len,
        overlap=device.type == "cuda" if config.overlap is None else config.overlap,
    )


def _warm(core: EngineCore) -> None:
    """Answer one request before the first user does: what is compiled or allocated on first use is then there."""
    sampling = SamplingParams(max_tokens=2, temperature=0.0)
    core.submit(GenerateRequest(request_id="warm-up", prompt_token_ids=[0] * 4, sampling=sampling))
    while core.has_work:
        core.step()
    speculation = core.scheduler.speculation
    if speculation is not None:
        speculation.spare_rows = measured_spare_rows(
            core.runner, core.scheduler.pool, min(speculation.settings.rows, core.limits.max_model_len - 1)
        )
        logger.info(
            "a step's first row costs as much as %.1f more; drafts are as long as that is worth", speculation.spare_rows
        )
    core.forget_history()

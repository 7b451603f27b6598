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
from loraplex_kernels.attention.cache import allocate, bytes_per_block
from loraplex_kernels.lora import AdapterTable
from loraplex_server.engine.block_pool import BlockPool
from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.device import checkpoint_dtype, resolve_device, resolve_dtype, room_for, set_threads
from loraplex_server.engine.grammars.library import GrammarLibrary
from loraplex_server.engine.graphs.build import decode_graphs, decode_tapes
from loraplex_server.engine.loaders import loader_threads, usable_cores
from loraplex_server.engine.measure import measure_steps
from loraplex_server.engine.memory import MemoryPlan, kv_cache_dtype, plan_memory
from loraplex_server.engine.memory_report import memory_report
from loraplex_server.engine.messages import EngineInfo, GenerateRequest, SamplingParams
from loraplex_server.engine.rehearsal import StepSizes
from loraplex_server.engine.runner import ModelRunner
from loraplex_server.engine.scheduler import Scheduler
from loraplex_server.engine.speculation.settings import SpeculationSettings, most_rows
from loraplex_server.engine.speculation.spare_rows import measured_spare_rows
from loraplex_server.engine.speculation.speculation import Speculation
from loraplex_server.engine.step_needs import give_back
from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.decoder import Decoder
from loraplex_server.models.folder import model_folder
from loraplex_server.models.load import load_model
from loraplex_server.models.mapped import trim_heap

logger = logging.getLogger(__name__)

DEFAULT_BATCHED_TOKENS = {"cpu": 512, "cuda": 4096}
# Rows of the adapter table. It grows by itself, but on a GPU that moves it away from the graphs that read it.
FIRST_SLOTS = {"cpu": 64, "cuda": 1024}
# A mask takes tens of microseconds; more threads would only be in the way of the step.
MASK_THREADS = 4


def build_engine(config: EngineConfig, wake: Callable[[], None]) -> tuple[EngineCore, EngineInfo]:
    """Load the model, size the caches, wire the parts, and answer one request for practice.

    Args:
        config: what to build.
        wake: called from a loader thread when an adapter came in, so that a sleeping loop looks.

    Raises:
        EngineStartError: a setting does not fit the machine or the model.
        ModelError: the model is not supported, or its files are wrong.
        ValueError: a setting is out of the model's range.
    """
    started = time.monotonic()
    set_threads(config)
    device = resolve_device(config.device)
    dtype = resolve_dtype(config.dtype, checkpoint_dtype(model_folder(config.model, weights=False)), device)
    stored = kv_cache_dtype(config, dtype, device)
    with room_for("the model's weights", "use a smaller --quantization, or a larger GPU"):
        model = load_model(
            config.model,
            device=device,
            dtype=dtype,
            quantization=config.quantization,
            head_quantization=config.head_quantization,
            max_model_len=config.max_model_len,
            quantization_cache=None if config.quantization_cache is None else Path(config.quantization_cache),
        )
    sizes = _step_sizes(config, model.config.max_model_len, device)
    int8 = config.adapter_dtype == "int8"
    with room_for("the largest step beside the weights", "lower --max-num-batched-tokens or --max-num-seqs"):
        needs = measure_steps(model, sizes, device, dtype=dtype, stored=stored, int8=int8, graphs=config.graphs)
    memory = plan_memory(config, sizes.length, _block_bytes(model.config, config, stored), device, needs)
    with room_for("what it was shared out to", "lower --kv-cache-memory or --adapter-memory"):
        core = _wire(config, model, memory, dtype, device, wake)
        if config.graphs and device.type == "cuda":
            _capture_graphs(core, most_rows(config))
        elif config.graphs:
            _record_tapes(core, most_rows(config))
        _warm(core)
    trim_heap()
    info = _info(config, core, memory, device, dtype)
    _tell_of_rounding(config)
    logger.info("%s", memory_report(memory, needs, model.weights_nbytes, config.block_size))
    logger.info("engine ready in %.1f s; %s; %s", time.monotonic() - started, native.status(), info)
    return core, info


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


def _wire(
    config: EngineConfig,
    model: Decoder,
    memory: MemoryPlan,
    dtype: torch.dtype,
    device: torch.device,
    wake: Callable[[], None],
) -> EngineCore:
    shape, stored = model.config, kv_cache_dtype(config, dtype, device)
    cache = allocate(
        shape.num_layers, memory.num_blocks, shape.num_kv_heads, config.block_size, shape.head_dim, stored, device
    )
    table = AdapterTable(FIRST_SLOTS[device.type], len(model.sites), dtype, device, int8=config.adapter_dtype == "int8")
    store = AdapterStore(
        base=model,
        table=table,
        budget_bytes=memory.adapter_bytes,
        host_budget_bytes=memory.adapter_host_bytes,
        # What was asked for is had, what was guessed grows with its use. A GPU's own memory is not claimed.
        claim=(config.adapter_memory if device.type == "cpu" else config.adapter_host_memory) is not None,
        loader_threads=loader_threads(device, usable_cores()),
        on_ready=wake,
    )
    drafts = SpeculationSettings.of(config)
    scheduler = Scheduler(
        BlockPool(memory.num_blocks, caching=config.enable_prefix_caching),
        block_size=config.block_size,
        max_num_seqs=config.max_num_seqs,
        max_num_batched_tokens=_step_sizes(config, memory.max_model_len, device).tokens,
        speculation=None if drafts is None else Speculation(drafts),
    )
    return EngineCore(
        ModelRunner(model, cache, config.block_size, table),
        scheduler,
        store,
        GrammarLibrary(wake, min(usable_cores(), MASK_THREADS)),
        memory.max_model_len,
        overlap=device.type == "cuda" if config.overlap is None else config.overlap,
    )


def _step_sizes(config: EngineConfig, longest: int, device: torch.device) -> StepSizes:
    # A step of decoding takes one token of each sequence, so the budget is never below their number.
    tokens = max(config.max_num_batched_tokens or DEFAULT_BATCHED_TOKENS[device.type], config.max_num_seqs)
    return StepSizes(tokens, most_rows(config), longest, config.block_size)


def _capture_graphs(core: EngineCore, rows: int) -> None:
    runner = core.runner
    runner.graphs = decode_graphs(
        runner.model, runner.cache, runner.table, max_rows=rows, max_context=core.limits.max_model_len
    )
    if runner.graphs is None:
        logger.warning(
            "decode steps are not replayed from CUDA graphs: no kernel reads this model's heads; it is slower"
        )
    else:
        runner.graphs.warm()
        give_back(runner.device)  # the scratch of the runs before each capture, on a stream that nothing else runs on


def _record_tapes(core: EngineCore, rows: int) -> None:
    runner = core.runner
    runner.graphs = decode_tapes(
        runner.model, runner.cache, runner.table, max_rows=rows, max_context=core.limits.max_model_len
    )
    if runner.graphs is None:
        logger.warning("decode steps are not replayed from tapes: no compiled kernel reads this model's heads; slower")


def _block_bytes(shape: DecoderConfig, config: EngineConfig, dtype: torch.dtype) -> int:
    return bytes_per_block(shape.num_layers, shape.num_kv_heads, config.block_size, shape.head_dim, dtype)


def _warm(core: EngineCore) -> None:
    """Answer one request before the first user does: what is compiled or allocated on first use is then there."""
    sampling = SamplingParams(max_tokens=2, temperature=0.0)
    core.submit(GenerateRequest(request_id="warm-up", prompt_token_ids=[0] * 4, sampling=sampling))
    while core.has_work:
        core.step()
    core.forget_history()
    speculation = core.scheduler.speculation
    if speculation is not None:
        speculation.spare_rows = measured_spare_rows(
            core.runner, core.scheduler.pool, min(speculation.settings.rows, core.limits.max_model_len - 1)
        )
        logger.info(
            "a step's first row costs as much as %.1f more; drafts are as long as that is worth", speculation.spare_rows
        )

"""Captured steps without a GPU: what would be recorded is called again instead, on the same static buffers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from loraplex_kernels.attention import AttentionBatch
from loraplex_kernels.lora import LoraStep, Run
from loraplex_kernels.lora.batch import LoraBatch
from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.graphs.decode import DecodeGraphs, DecodeShape, Forward, forward_on
from loraplex_server.models.adapter_step import AdapterStep


class CallAgain:
    """A `Capture` whose replay is the function itself, and which counts."""

    def __init__(self) -> None:
        self.captures = 0
        self.replays = 0

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        self.captures += 1
        run()

        def replay() -> None:
            self.replays += 1
            run()

        return replay


def reading(forward: Forward) -> Forward:
    """A forward that takes a step from the static tensors alone, as kernels on a GPU do, and runs it on the CPU."""

    def run(tokens: Tensor, batch: AttentionBatch, step: AdapterStep | None) -> Tensor:
        assert batch.static
        contexts = tuple(batch.context.tolist())
        read = replace(batch, static=False, context_lens=contexts)
        return forward(tokens, read, None if step is None else _read(step))

    return run


def _read(step: AdapterStep) -> AdapterStep | None:
    assert step.lora is not None
    batch = step.lora.batch
    runs = []
    for arrays in batch.triton_plan.arrays:
        for use, (slot, block) in enumerate(zip(arrays.slot.tolist(), arrays.use_block.tolist(), strict=True)):
            if slot < 0:
                continue
            assert arrays.use_start[block] <= use < arrays.use_start[block + 1]
            for row, weight in zip(arrays.row[block].tolist(), arrays.weight[use].tolist(), strict=True):
                if row >= 0:
                    runs.append(Run(row, 1, slot, weight))
    if not runs:
        return None
    runs.sort(key=lambda run: run.slot)
    return AdapterStep(LoraStep(LoraBatch(tuple(runs), batch.magnitude, batch.device), step.lora.table))


def with_graphs(core: EngineCore) -> CallAgain:
    """Make an engine on the CPU serve its decode steps as one on a GPU does."""
    runner, capture = core.runner, CallAgain()
    config = runner.model.config
    shape = DecodeShape(
        core.scheduler.max_num_seqs,
        core.limits.max_model_len,
        runner.block_size,
        config.hidden_size,
        runner.table.dtype,
    )

    forward = reading(forward_on(runner.model, runner.cache))
    runner.graphs = DecodeGraphs(forward, runner.table, shape, capture)
    return capture

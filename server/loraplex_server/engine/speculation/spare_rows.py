"""How many rows a step has room for beside its first, found out by computing two."""

from __future__ import annotations

import time

from loraplex_server.engine.block_pool import BlockPool
from loraplex_server.engine.messages import SamplingParams
from loraplex_server.engine.runner import ModelRunner
from loraplex_server.engine.scheduler import Scheduled
from loraplex_server.engine.sequence import PLACEHOLDER, Sequence

ROWS = 16
REPEATS = 3  # at least; the first of which compiles, or records
ENOUGH_S = 0.75  # short steps are repeated for so long: one that nothing disturbed is among them
FEWEST, MOST = 1.0, 256.0


def measured_spare_rows(runner: ModelRunner, pool: BlockPool, most: int) -> float:
    """Rows that cost as much as a step costs before its first: reading the weights, mostly.

    It hangs on the machine, and on the form of the weights: a row of integers of four bits is dear, one of bfloat16
    where the weights are read from memory is nearly free. Of each step the fastest of a few is taken.

    Args:
        runner: whose kernels are warm.
        pool: of its cache; the blocks that this takes are given back.
        most: rows of a step, and positions that a sequence may have.
    """
    rows = min(ROWS, most, pool.num_free * runner.block_size)
    if rows < 2:
        return FEWEST
    blocks = pool.allocate(-(-rows // runner.block_size))
    ones, manies, started = list[float](), list[float](), time.perf_counter()
    while len(ones) < REPEATS or time.perf_counter() - started < ENOUGH_S:  # in turns, so that drift hits both
        ones.append(_seconds(runner, blocks, 1))
        manies.append(_seconds(runner, blocks, rows))
    pool.release(blocks)
    one, many = min(ones), min(manies)
    each = (many - one) / (rows - 1)
    return MOST if each * MOST <= one else max(one / each - 1, FEWEST)


def _seconds(runner: ModelRunner, blocks: list[int], rows: int) -> float:
    """Of a step in which one sequence has so many rows, one of them its own and the others a draft."""
    sampling = SamplingParams(max_tokens=rows + 1, temperature=0.0)
    sequence = Sequence("rows", 0, 1, sampling, rows + 1, [PLACEHOLDER], block_table=blocks)
    plan = [Scheduled.of(sequence, 1).with_draft((PLACEHOLDER,) * (rows - 1))]
    started = time.perf_counter()
    runner.launch(plan).results()
    return time.perf_counter() - started

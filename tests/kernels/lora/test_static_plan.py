"""A plan at fixed addresses holds any step within its limits, and says which step does not fit and why."""

from __future__ import annotations

import pytest
import torch

from loraplex_kernels.lora import AdapterTable, Run, SiteShape, StaticLimits, StaticPlan, build_batch
from loraplex_kernels.lora import plan as layout_of
from loraplex_kernels.lora.triton_plan import DECODE_ROWS, PREFILL_ROWS, TritonPlan
from loraplex_kernels.lora.workload import random_table

CPU = torch.device("cpu")
RANKS = (4, 16, 40)


@pytest.fixture
def table():
    shapes = [[SiteShape(0, 8, 8, rank, 1.0)] for rank in RANKS]
    return random_table(shapes, torch.float32, CPU, seed=0, sites=1)


@pytest.fixture
def plan(table):
    return StaticPlan(StaticLimits(rows=24, uses=24, rank=16), table)


def addresses(plan):
    (arrays,) = plan.arrays
    return [
        tensor.data_ptr() for tensor in (arrays.row, arrays.use_start, arrays.use_block, arrays.slot, arrays.weight)
    ]


@pytest.mark.parametrize(
    "runs",
    [
        [Run(row, 1, row % 2) for row in range(24)],
        [Run(0, 20, 1, 0.5)],
        [Run(3, 2, 0), Run(3, 1, 1, -2.0)],
        [Run(23, 1, 1)],
    ],
    ids=["two adapters", "one in two blocks", "a mixture", "the last row"],
)
def test_the_buffers_begin_with_the_step_and_end_with_nothing(plan, runs):
    before = addresses(plan)
    plan.update(build_batch([Run(row, 1, 0) for row in range(24)], CPU))  # what lay there before must not matter
    batch = build_batch(runs, CPU)
    plan.update(batch)
    assert addresses(plan) == before
    (static,), (dynamic,) = plan.arrays, TritonPlan(batch.runs, CPU).arrays
    assert (static.blocks, static.uses, static.size) == (24, 24, DECODE_ROWS)
    for name in ("row", "use_block", "slot", "weight"):
        expected = getattr(dynamic, name)
        assert torch.equal(getattr(static, name)[: len(expected)], expected)
    assert torch.equal(static.use_start[: dynamic.blocks + 1], dynamic.use_start)
    assert (static.use_start[dynamic.blocks :] == dynamic.uses).all()
    assert (static.slot[dynamic.uses :] == -1).all()
    assert (static.row[dynamic.blocks :] == -1).all()


def test_a_new_or_cleared_plan_has_no_work(plan):
    for _ in range(2):
        (arrays,) = plan.arrays
        assert (arrays.slot == -1).all()
        assert (arrays.use_start == 0).all()
        plan.update(build_batch([Run(0, 3, 1)], CPU))
        plan.clear()


@pytest.mark.parametrize(
    ("runs", "magnitude", "reason"),
    [
        ([Run(0, 1, 2)], False, "rank 40, above 16"),
        ([Run(24, 1, 0)], False, "more than 24 rows"),
        ([Run(0, PREFILL_ROWS, 0)], False, "more than 24 rows"),
        ([Run(row, 1, slot) for row in range(13) for slot in (0, 1)], False, None),
        ([Run(row, 1, slot, row + 1.0) for row in range(24) for slot in (0, 1)], False, None),
        ([Run(0, 1, 0)], True, "DoRA"),
    ],
)
def test_a_step_that_does_not_fit_says_why(plan, runs, magnitude, reason):
    batch = build_batch(runs, CPU, magnitude)
    if reason is None:
        assert plan.misfit(batch) is None
        return
    assert reason in plan.misfit(batch)
    with pytest.raises(ValueError, match=reason):
        plan.update(batch)


def test_more_uses_than_captured_do_not_fit(table):
    plan = StaticPlan(StaticLimits(rows=4, uses=4, rank=16), table)
    lonely = build_batch([Run(row, 1, slot) for row in range(4) for slot in range(2) if row or slot], CPU)
    assert plan.misfit(lonely) is None  # row 0 alone, rows 1 to 3 together: 1 + 2 uses
    crossed = [Run(0, 1, 0), Run(1, 1, 0), Run(1, 1, 1), Run(2, 1, 1), Run(2, 1, 1), Run(3, 1, 1)]
    assert "6 uses" in plan.misfit(build_batch(crossed, CPU))


def test_long_runs_are_not_for_decoding_graphs(table):
    plan = StaticPlan(StaticLimits(rows=PREFILL_ROWS, uses=4, rank=16), table)
    assert "larger blocks" in plan.misfit(build_batch([Run(0, PREFILL_ROWS, 0)], CPU))


def test_a_table_that_grew_makes_the_plan_stale(plan, table):
    batch = build_batch([Run(0, 1, 0)], CPU)
    assert not plan.stale
    table.grow(3)
    assert not plan.stale  # no row was added, nothing moved
    table.grow(9)
    assert plan.stale
    assert "moved" in plan.misfit(batch)
    assert StaticPlan(plan.limits, table).misfit(batch) is None


def test_an_adapter_that_arrives_later_is_seen(plan, table):
    table.clear(0)
    assert plan.misfit(build_batch([Run(0, 1, 0)], CPU)) is None
    layout = layout_of([SiteShape(0, 8, 8, 17, 1.0)], 4)
    table.install(0, layout, torch.zeros(layout.nbytes, dtype=torch.uint8))
    assert "rank 17" in plan.misfit(build_batch([Run(0, 1, 0)], CPU))


def test_limits_must_be_positive():
    with pytest.raises(ValueError, match="at least 1"):
        StaticPlan(StaticLimits(0, 1, 1), AdapterTable(1, 1, torch.float32, CPU))

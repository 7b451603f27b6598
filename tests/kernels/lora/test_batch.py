"""A step's runs become segments, and blocks of rows that share their adapters."""

from __future__ import annotations

import ctypes

import torch
from hypothesis import given
from hypothesis import strategies as st

from loraplex_kernels.lora import AdapterTable, Run, build_batch
from loraplex_kernels.lora.blocks import cut
from loraplex_kernels.lora.cpu_plan import BLOCK_ROWS, CpuPlan, CpuStep

CPU = torch.device("cpu")

runs_of_a_step = st.lists(
    st.builds(
        Run,
        first=st.integers(0, 30),
        count=st.integers(0, 20),
        slot=st.integers(0, 6),
        weight=st.floats(-2, 2, width=32),
    ),
    max_size=12,
)


def entries_of(runs):
    return sorted((run.slot, row, run.weight) for run in runs for row in range(run.first, run.first + run.count))


def test_the_documented_example():
    runs = [Run(0, 1, 7), Run(1, 1, 2), Run(3, 1, 7), Run(4, 1, 2, 0.5), Run(4, 1, 7, 0.5)]
    batch = build_batch(runs, CPU)
    assert batch.slot.tolist() == [2, 7]
    assert batch.start.tolist() == [0, 2, 5]
    assert batch.token.tolist() == [1, 4, 0, 3, 4]
    assert batch.weight.tolist() == [1.0, 0.5, 1.0, 1.0, 0.5]
    assert batch.mixed
    assert (batch.entries, batch.segments) == (5, 2)


def test_a_step_on_the_base_has_no_batch():
    assert build_batch([], CPU) is None
    assert build_batch([Run(0, 0, 3)], CPU) is None


@given(runs_of_a_step)
def test_segments_hold_every_entry_once_sorted_by_adapter(runs):
    batch = build_batch(runs, CPU)
    if batch is None:
        assert entries_of(runs) == []
        return
    slots, starts = batch.slot.tolist(), batch.start.tolist()
    assert slots == sorted(set(slots))
    assert starts == sorted(set(starts))  # no empty segment
    tokens, weights = batch.token.tolist(), batch.weight.tolist()
    found = [
        (slot, tokens[entry], weights[entry])
        for slot, begin, end in zip(slots, starts, starts[1:], strict=False)
        for entry in range(begin, end)
    ]
    assert sorted(found) == entries_of(runs)
    assert batch.mixed == (len(tokens) > len(set(tokens)))


@given(runs_of_a_step, st.integers(1, 7))
def test_blocks_hold_every_entry_once_and_no_row_twice(runs, size):
    blocks = cut(sorted(runs, key=lambda run: run.slot), size)
    found = [
        (slot, row, weight)
        for block in blocks
        for slot, weights in zip(block.slots, block.weights, strict=True)
        for row, weight in zip(block.rows, weights, strict=True)
    ]
    assert sorted(found) == entries_of(runs)
    rows = [row for block in blocks for row in block.rows]
    assert len(rows) == len(set(rows))
    assert all(0 < len(block.rows) <= size for block in blocks)
    assert all(list(block.slots) == sorted(block.slots) for block in blocks)  # a fixed order of summation


def test_rows_with_the_same_mix_share_a_block():
    blocks = cut([Run(0, 3, 1), Run(5, 1, 1), Run(0, 3, 2, 0.5)], size=16)
    assert [(block.rows, block.slots) for block in blocks] == [([0, 1, 2], (1, 2)), ([5], (1,))]


def test_blocks_are_cut_as_even_as_can_be():
    assert [len(block.rows) for block in cut([Run(0, 2 * BLOCK_ROWS + 2, 0)], BLOCK_ROWS)] == [22, 22, 22]
    assert [len(block.rows) for block in cut([Run(0, BLOCK_ROWS, 0)], BLOCK_ROWS)] == [BLOCK_ROWS]


def test_a_step_that_is_kept_stands_for_the_plan_that_was_written_last():
    table = AdapterTable(3, 1, torch.float32, CPU)
    step, first, second = CpuStep(), CpuPlan([Run(0, 4, 1)]), CpuPlan([Run(0, 1, 0), Run(1, 1, 2)])
    first.write(step, table)
    second.write(step, table)
    assert step.blocks == 2
    assert list((ctypes.c_int32 * 2).from_address(step.slot)) == [0, 2]
    assert step.rank == table.rank.data_ptr()

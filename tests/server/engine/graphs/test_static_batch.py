"""A step is written in place: the tensors that a captured launch reads never move."""

from __future__ import annotations

import pytest
import torch

from loraplex_kernels.attention import Span
from loraplex_kernels.lora import AdapterTable, Run, build_batch
from loraplex_server.engine.graphs.key import GraphKey
from loraplex_server.engine.graphs.static_batch import StaticBatch, StaticRows

CPU = torch.device("cpu")


def table() -> AdapterTable:
    return AdapterTable(4, 2, torch.float32, CPU)


def addresses(batch: StaticBatch) -> list[int]:
    attention = batch.rows.attention(4)
    tensors = [
        *(batch.rows.token_ids, attention.query_start, attention.context, attention.block_table),
        *(attention.positions, attention.slot_mapping),
    ]
    if batch.adapters is not None and batch.adapters.lora is not None:
        for arrays in batch.adapters.lora.batch.triton_plan.arrays:
            tensors += [arrays.row, arrays.use_start, arrays.use_block, arrays.slot, arrays.weight]
    return [tensor.data_ptr() for tensor in tensors]


def test_a_fresh_batch_is_all_padding() -> None:
    attention = StaticBatch(GraphKey(4), StaticRows(4, 100, 8, CPU), table()).rows.attention(4)
    assert attention.context.tolist() == [0] * 4
    assert attention.slot_mapping.tolist() == [-1] * 4
    assert attention.positions.tolist() == [0] * 4


def test_rows_past_the_step_become_padding_again() -> None:
    rows = StaticRows(4, 100, 8, CPU)
    rows.load(torch.tensor([5, 6, 7]), [Span(1, 9, [3, 4]), Span(1, 1, [2]), Span(1, 16, [0, 1])])
    rows.load(torch.tensor([8]), [Span(1, 10, [3, 4])])
    assert rows.token_ids[:1].tolist() == [8]
    attention = rows.attention(4)
    assert attention.context.tolist() == [10, 0, 0, 0]
    assert attention.slot_mapping.tolist() == [4 * 8 + 1, -1, -1, -1]
    assert attention.positions.tolist() == [9, 0, 0, 0]


def test_steps_with_and_without_adapters_are_written_to_the_same_addresses() -> None:
    batch = StaticBatch(GraphKey(4, 16), StaticRows(4, 100, 8, CPU), table())
    before = addresses(batch)
    for slots in ([1, 1, 2], [3]):
        lora = build_batch([Run(row, 1, slot) for row, slot in enumerate(slots)], CPU)
        spans = [Span(1, 1, [row]) for row in range(len(slots))]
        batch.load(torch.zeros(len(slots), dtype=torch.int64), spans, lora)
        (arrays,) = batch.adapters.lora.batch.triton_plan.arrays
        assert sorted(slot for slot in arrays.slot.tolist() if slot >= 0) == sorted(set(slots))
    assert addresses(batch) == before


def test_a_graph_without_adapters_takes_no_step_with_them_and_the_other_way_round() -> None:
    rows = StaticRows(2, 100, 8, CPU)
    lora = build_batch([Run(0, 1, 0)], CPU)
    without, having = StaticBatch(GraphKey(2), rows, table()), StaticBatch(GraphKey(2, 16), rows, table())
    assert without.fits(None)
    assert having.fits(lora)
    assert not without.fits(lora)
    assert not having.fits(None)
    with pytest.raises(ValueError, match="needs a graph with adapters"):
        without.load(torch.tensor([1]), [Span(1, 1, [0])], lora)


def test_only_what_reads_the_table_is_stale_when_it_moves() -> None:
    target = table()
    rows = StaticRows(2, 100, 8, CPU)
    without, having = StaticBatch(GraphKey(2), rows, target), StaticBatch(GraphKey(2, 16), rows, target)
    target.grow(8)
    assert having.stale
    assert not without.stale


def test_a_step_that_does_not_fit_is_refused_and_leaves_the_last_one() -> None:
    batch = StaticBatch(GraphKey(2, 16), StaticRows(2, 100, 8, CPU), table())
    batch.load(torch.tensor([5]), [Span(1, 9, [3, 4])], build_batch([Run(0, 1, 1)], CPU))
    crowded = build_batch([Run(0, 1, slot) for slot in (1, 2, 3)], CPU)
    assert not batch.fits(crowded)
    with pytest.raises(ValueError, match="3 uses of adapters"):
        batch.load(torch.tensor([6]), [Span(1, 1, [0])], crowded)
    assert batch.rows.token_ids[0] == 5
    assert batch.rows.attention(2).context.tolist() == [9, 0]

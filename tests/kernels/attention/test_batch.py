from __future__ import annotations

import torch

from loraplex_kernels.attention import Span, build_batch
from loraplex_kernels.attention.batch import UNIT_ROWS
from loraplex_kernels.upload import ALIGNMENT

CPU = torch.device("cpu")


def test_the_docstrings_example():
    batch = build_batch([Span(3, 3, [5]), Span(1, 10, [2, 9])], 8, CPU)
    assert batch.query_start.tolist() == [0, 3, 4]
    assert batch.context.tolist() == [3, 10]
    assert batch.block_table.tolist() == [[5, 0], [2, 9]]
    assert batch.positions.tolist() == [0, 1, 2, 9]
    assert batch.slot_mapping.tolist() == [40, 41, 42, 73]
    assert (batch.query_counts, batch.context_lens, batch.longest_decode) == ((3, 1), (3, 10), 10)


def test_units_cover_the_rows_of_sequences_with_several_once_and_the_longest_work_comes_first():
    counts, contexts = [1, 2, 2 * UNIT_ROWS + 1, UNIT_ROWS, 1], [9, 5000, 2 * UNIT_ROWS + 1, UNIT_ROWS + 7, 8]
    spans = [Span(count, context, range(400)) for count, context in zip(counts, contexts, strict=True)]
    batch = build_batch(spans, 16, CPU)
    assert batch.units.tolist() == [[1, 0], [2, 2 * UNIT_ROWS], [2, UNIT_ROWS], [3, 0], [2, 0]]
    assert batch.units.dtype == torch.int32
    assert batch.longest_decode == 9


def test_a_step_that_only_decodes_has_no_units_and_one_that_only_prefills_no_decode():
    assert build_batch([Span(1, 5, [0])], 8, CPU).units.shape == (0, 2)
    assert build_batch([Span(5, 5, [0])], 8, CPU).longest_decode == 0


def test_every_tensor_begins_where_a_kernel_may_read_wide_words():
    batch = build_batch([Span(3, 3, [5]), Span(1, 10, [2, 9])], 8, CPU)
    base = batch.positions.data_ptr()
    for tensor in (batch.slot_mapping, batch.query_start, batch.context, batch.units, batch.block_table):
        assert (tensor.data_ptr() - base) % ALIGNMENT == 0

from __future__ import annotations

import pytest
import torch

from loraplex_kernels.attention import Span, build_batch
from loraplex_kernels.attention.decode_rows import DecodeRows

SPANS = [Span(1, 33, [4, 2, 7]), Span(1, 1, [5]), Span(1, 16, [3])]
TENSORS = ("query_start", "context", "positions", "slot_mapping")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_step_that_is_loaded_is_the_step_that_build_batch_makes(count: int) -> None:
    rows = DecodeRows(8, 48, 16)
    rows.load(SPANS)
    rows.load(SPANS[:count])
    batch, made = rows.batch(count), build_batch(SPANS[:count], 16, torch.device("cpu"))
    for name in TENSORS:
        assert torch.equal(getattr(batch, name), getattr(made, name)), name
        assert getattr(batch, name).dtype == getattr(made, name).dtype, name
    for row, span in enumerate(SPANS[:count]):
        assert batch.block_table[row, : len(span.block_table)].tolist() == span.block_table
    assert (batch.static, batch.query_counts, batch.context_lens) == (True, (1,) * count, (48,) * count)


def test_batches_of_all_sizes_lie_at_one_place() -> None:
    rows = DecodeRows(8, 48, 16)
    for name in (*TENSORS, "block_table"):
        assert getattr(rows.batch(1), name).data_ptr() == getattr(rows.batch(7), name).data_ptr(), name

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


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([Span(1, 1, [0])] * 3, "3 sequences"),
        ([Span(2, 3, [0])], "2 rows"),
        ([Span(1, 33, [0, 1, 2])], "context of 33"),
        ([Span(1, 0, [])], "context of 0"),
        ([Span(1, 17, [0])], "1 blocks"),
    ],
)
def test_a_step_that_does_not_fit_is_refused(spans: list[Span], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DecodeRows(2, 32, 16).load(spans)


def test_a_size_that_is_not_positive_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="block_size"):
        DecodeRows(2, 32, 0)

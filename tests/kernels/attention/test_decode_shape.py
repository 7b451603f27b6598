"""Steps at fixed addresses take what fits and refuse the rest before they write anything."""

from __future__ import annotations

import pytest
import torch

from loraplex_kernels.attention import DecodeRows, Span

CPU = torch.device("cpu")


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
def test_a_step_that_does_not_fit_is_refused(spans, said):
    rows = DecodeRows(2, 32, 16, CPU)
    rows.load([Span(1, 18, [7, 5])])
    with pytest.raises(ValueError, match=said):
        rows.load(spans)
    assert rows.batch(2).context.tolist() == [18, 0]
    assert rows.batch(2).block_table.tolist() == [[7, 5], [0, 0]]


@pytest.mark.parametrize("sizes", [(0, 32, 16), (2, 0, 16), (2, 32, 0)])
def test_a_size_that_is_not_positive_is_refused_by_name(sizes):
    name = ("rows", "max_context", "block_size")[sizes.index(0)]
    with pytest.raises(ValueError, match=name):
        DecodeRows(*sizes, CPU)

"""Steps at fixed addresses, for graphs and for tapes, take what fits and refuse the rest before they write anything."""

from __future__ import annotations

import pytest
import torch

from loraplex_kernels.attention.batch import Span
from loraplex_kernels.attention.decode_rows import DecodeRows
from loraplex_kernels.attention.static import DecodeBuffers

WRITERS = {
    "tapes": lambda spans: DecodeRows(2, 32, 16).load(spans),
    "graphs": lambda spans: DecodeBuffers(2, 32, 16, torch.device("cpu")).fill(spans),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
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
def test_a_step_that_does_not_fit_is_refused(write, spans, said):
    with pytest.raises(ValueError, match=said):
        write(spans)


@pytest.mark.parametrize("sizes", [(0, 32, 16), (2, 0, 16), (2, 32, 0)])
def test_a_size_that_is_not_positive_is_refused_by_name(sizes):
    name = ("rows", "max_context", "block_size")[sizes.index(0)]
    with pytest.raises(ValueError, match=name):
        DecodeRows(*sizes)
    with pytest.raises(ValueError, match=name):
        DecodeBuffers(*sizes, torch.device("cpu"))

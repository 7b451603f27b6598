from __future__ import annotations

import pytest
import torch

from loraplex_kernels import native
from loraplex_kernels.attention import DecodeBuffers, Span, build_batch, paged_attention

CPU = torch.device("cpu")
SPANS = [Span(1, 33, [4, 2, 7]), Span(1, 1, [5]), Span(1, 16, [3])]
TENSORS = ("query_start", "context", "block_table", "positions", "slot_mapping")


def addresses(buffers: DecodeBuffers) -> list[int]:
    return [getattr(buffers.batch, name).data_ptr() for name in TENSORS]


def test_a_step_that_fills_the_buffers_is_the_step_that_build_batch_makes():
    buffers = DecodeBuffers(3, 48, 16, CPU)
    buffers.fill(SPANS)
    made = build_batch(SPANS, 16, CPU)
    for name in TENSORS:
        assert torch.equal(getattr(buffers.batch, name), getattr(made, name)), name
        assert getattr(buffers.batch, name).dtype == getattr(made, name).dtype, name


def test_the_next_step_takes_the_place_of_the_last_and_what_is_left_is_padding():
    buffers = DecodeBuffers(4, 64, 16, CPU)
    before = addresses(buffers)
    buffers.fill(SPANS)
    buffers.fill([Span(1, 18, [9, 8])])
    batch = buffers.batch
    assert addresses(buffers) == before
    assert batch.query_start.tolist() == [0, 1, 2, 3, 4]
    assert batch.context.tolist() == [18, 0, 0, 0]
    assert batch.positions.tolist() == [17, 0, 0, 0]
    assert batch.slot_mapping.tolist() == [8 * 16 + 1, -1, -1, -1]
    assert batch.block_table.tolist() == [[9, 8, 0, 0], [0] * 4, [0] * 4, [0] * 4]


def test_nothing_that_a_launch_is_shaped_by_changes_with_the_step():
    buffers = DecodeBuffers(4, 64, 16, CPU)
    buffers.fill(SPANS)
    batch = buffers.batch
    assert (batch.tokens, batch.query_counts, batch.context_lens) == (4, (1,) * 4, (64,) * 4)
    assert batch.longest_decode == 64
    assert batch.units.shape == (0, 2)


def test_buffers_that_nothing_was_written_into_are_all_padding():
    batch = DecodeBuffers(2, 64, 16, CPU).batch
    assert not batch.context.any()
    assert batch.slot_mapping.tolist() == [-1, -1]


def test_blocks_that_are_reserved_beyond_the_longest_context_are_left_out():
    buffers = DecodeBuffers(1, 32, 16, CPU)
    buffers.fill([Span(1, 32, [6, 1, 3])])
    assert buffers.batch.block_table.tolist() == [[6, 1]]


def test_what_reads_lengths_on_the_host_refuses_a_static_batch(scene, monkeypatch):
    made = scene([(1, 9)])
    buffers = DecodeBuffers(1, 32, 16, CPU)
    buffers.fill(made.spans)
    monkeypatch.setattr(native, "library", lambda: None)
    with pytest.raises(ValueError, match="static batch: only compiled kernels serve it"):
        paged_attention(made.q, made.cache, buffers.batch, 1.0)


@pytest.mark.skipif(native.library() is None, reason=native.status())
def test_padding_attends_to_nothing_and_disturbs_nobody(scene):
    made = scene([(1, 9), (1, 30)])
    buffers = DecodeBuffers(4, 32, made.cache.block_size, CPU)
    buffers.fill(made.spans)
    q = torch.cat([made.q, torch.full_like(made.q, torch.nan)])
    out = paged_attention(q, made.cache, buffers.batch, 0.5)
    assert torch.equal(out[:2], paged_attention(made.q, made.cache, made.batch, 0.5))
    assert not out[2:].any()

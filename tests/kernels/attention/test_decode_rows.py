from __future__ import annotations

import random

import pytest
import torch

from loraplex_kernels import native
from loraplex_kernels.attention import DecodeRows, Span, build_batch, paged_attention

CPU = torch.device("cpu")
SPANS = [Span(1, 33, [4, 2, 7]), Span(1, 1, [5]), Span(1, 16, [3])]
TENSORS = ("query_start", "context", "positions", "slot_mapping")


def addresses(rows: DecodeRows, size: int) -> list[int]:
    return [getattr(rows.batch(size), name).data_ptr() for name in (*TENSORS, "block_table")]


def table(rows: DecodeRows, spans: list[Span]) -> list[list[int]]:
    """As far as each sequence reads it."""
    batch = rows.batch(len(spans))
    return [batch.block_table[row, : -(-span.context // batch.block_size)].tolist() for row, span in enumerate(spans)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_step_that_is_loaded_is_the_step_that_build_batch_makes(count: int) -> None:
    rows = DecodeRows(8, 48, 16, CPU)
    rows.load(SPANS)
    rows.load(SPANS[:count])
    batch, made = rows.batch(count), build_batch(SPANS[:count], 16, CPU)
    for name in TENSORS:
        assert torch.equal(getattr(batch, name), getattr(made, name)), name
        assert getattr(batch, name).dtype == getattr(made, name).dtype, name
    assert batch.block_table.dtype == made.block_table.dtype
    assert table(rows, SPANS[:count]) == [span.block_table for span in SPANS[:count]]
    assert (batch.static, batch.query_counts, batch.context_lens) == (True, (1,) * count, (48,) * count)


def test_batches_of_all_sizes_lie_at_one_place_which_no_step_moves() -> None:
    rows = DecodeRows(8, 48, 16, CPU)
    before = addresses(rows, 1)
    rows.load(SPANS)
    assert addresses(rows, 1) == addresses(rows, 7) == before


def test_what_is_left_of_a_larger_batch_is_padding() -> None:
    rows = DecodeRows(4, 64, 16, CPU)
    batch = rows.batch(4)
    assert not batch.context.any()
    assert batch.slot_mapping.tolist() == [-1] * 4
    rows.load(SPANS)
    rows.load([Span(1, 18, [9, 8])])
    assert batch.query_start.tolist() == [0, 1, 2, 3, 4]
    assert batch.context.tolist() == [18, 0, 0, 0]
    assert batch.positions.tolist() == [17, 0, 0, 0]
    assert batch.slot_mapping.tolist() == [8 * 16 + 1, -1, -1, -1]


def test_the_table_is_right_whatever_happens_to_sequences_between_steps() -> None:
    """They grow, end, come back in other places, get other blocks after a pause, and hold blocks in advance."""
    chance = random.Random(7)
    rows, sequences = DecodeRows(6, 160, 16, CPU), []
    for _ in range(600):
        match chance.randrange(8):
            case 0 if len(sequences) < 6:
                sequences.insert(chance.randrange(len(sequences) + 1), [1, [chance.randrange(99)]])
            case 1 if sequences:
                sequences.pop(chance.randrange(len(sequences)))
            case 2:
                chance.shuffle(sequences)
            case 3 if sequences:
                paused = chance.choice(sequences)
                paused[1] = chance.choices(range(99), k=len(paused[1]))  # in place of the list that was loaded
            case 4 if sequences:
                paused = chance.choice(sequences)
                paused[1][chance.randrange(len(paused[1]))] = chance.randrange(99)  # within it
            case 5 if sequences:
                short = chance.choice(sequences)
                short[0] = chance.randint(1, short[0])
                del short[1][-(-short[0] // 16) :]
            case _:
                for sequence in sequences:
                    sequence[0] = min(sequence[0] + chance.randint(1, 9), 160)
                    while len(sequence[1]) * 16 < sequence[0] + chance.choice([0, 16]):
                        sequence[1].append(chance.randrange(99))
        spans = [Span(1, context, blocks) for context, blocks in sequences]
        rows.load(spans)
        assert table(rows, spans) == [list(span.block_table[: -(-span.context // 16)]) for span in spans]


def test_only_cells_that_change_are_written() -> None:
    rows = DecodeRows(2, 64, 16, CPU)
    rows.load([Span(1, 16, [4]), Span(1, 16, [5])])
    cells = rows.batch(2).block_table
    cells.fill_(-9)  # what is written from now on shows
    rows.load([Span(1, 17, [4, 6]), Span(1, 17, [5, 7, 8])])
    assert cells.tolist() == [[-9, 6, -9, -9], [-9, 7, 8, -9]]
    rows.load([Span(1, 18, [4, 6])])
    rows.load([Span(1, 17, [5, 7])])
    assert cells.tolist() == [[5, 7, -9, -9], [-9, 7, 8, -9]]


def test_nothing_that_a_launch_is_shaped_by_changes_with_the_step() -> None:
    rows = DecodeRows(4, 64, 16, CPU)
    rows.load(SPANS)
    batch = rows.batch(4)
    assert (batch.tokens, batch.query_counts, batch.context_lens) == (4, (1,) * 4, (64,) * 4)
    assert batch.longest_decode == 64
    assert batch.units.shape == (0, 2)


def test_blocks_that_are_reserved_beyond_the_longest_context_are_left_out() -> None:
    rows = DecodeRows(1, 32, 16, CPU)
    rows.load([Span(1, 32, [6, 1, 3])])
    assert rows.batch(1).block_table.tolist() == [[6, 1]]


def test_what_reads_lengths_on_the_host_refuses_a_static_batch(scene, monkeypatch):
    made = scene([(1, 9)])
    rows = DecodeRows(1, 32, 16, CPU)
    rows.load(made.spans)
    monkeypatch.setattr(native, "library", lambda: None)
    with pytest.raises(ValueError, match="static batch: only compiled kernels serve it"):
        paged_attention(made.q, made.cache, rows.batch(1), 1.0)


@pytest.mark.skipif(native.library() is None, reason=native.status())
def test_padding_attends_to_nothing_and_disturbs_nobody(scene):
    made = scene([(1, 9), (1, 30)])
    rows = DecodeRows(4, 32, made.cache.block_size, CPU)
    rows.load(made.spans)
    q = torch.cat([made.q, torch.full_like(made.q, torch.nan)])
    out = paged_attention(q, made.cache, rows.batch(4), 0.5)
    assert torch.equal(out[:2], paged_attention(made.q, made.cache, made.batch, 0.5))
    assert not out[2:].any()

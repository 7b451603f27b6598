"""The Triton kernels under Triton's interpreter, or on a GPU; test_triton.py runs this, in a process of its own."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
import triton.language as tl
from triton.runtime import interpreter

from loraplex_kernels.attention import DecodeRows, Span, allocate
from loraplex_kernels.attention.cache import FLOAT8
from loraplex_kernels.attention.launch import MAX_SPLITS, SPLIT
from loraplex_kernels.attention.naive import write_kv_naive
from loraplex_kernels.attention.triton_op import paged_attention_triton, write_kv_triton

DEVICE = torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")
NAN = float("nan")
MIXED = [(1, 33), (5, 5), (1, 300), (20, 21), (1, 1), (140, 190)]
SHAPES = [  # heads, kv_heads, head_dim, block_size
    (2, 2, 64, 16),
    (4, 1, 128, 32),
    (7, 1, 80, 16),
    (8, 1, 96, 64),
    (3, 1, 256, 16),
    (14, 2, 24, 5),
    (40, 2, 16, 16),
]
MASKS = [(None, None), (7, None), (None, 3.0), (64, 2.0)]  # window, softcap
CUT = SPLIT + 44  # a context of two splits


@pytest.fixture(autouse=True)
def faithful(monkeypatch):
    """The interpreter holds bfloat16 as its bits, multiplies these as integers, and cuts off what it cannot hold.

    A GPU multiplies the numbers and rounds to the nearest, as torch does; so with float8.
    """
    if DEVICE.type != "cpu":
        return
    create_dot, convert = interpreter.InterpreterBuilder.create_dot, interpreter._convert_float
    to = {tl.bfloat16: (torch.bfloat16, torch.uint16), tl.float8e4nv: (FLOAT8, torch.uint8)}

    def widened(handle):
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return interpreter.TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def rounded(data, source, target, mode):
        if source != tl.float32 or target not in to:
            return convert(data, source, target, mode)
        dtype, bits = to[target]
        return torch.from_numpy(np.ascontiguousarray(data)).to(dtype).view(bits).numpy()

    monkeypatch.setattr(
        interpreter.InterpreterBuilder,
        "create_dot",
        lambda self, a, b, d, *rest: create_dot(self, widened(a), widened(b), d, *rest),
    )
    monkeypatch.setattr(interpreter, "_convert_float", rounded)


@pytest.mark.covering(1)
@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_formula_and_reads_nothing_that_is_not_the_sequences_own(shape, turn, scene, close):
    mask = MASKS[(SHAPES.index(shape) + 2 * turn) % 4]
    made = scene(MIXED, *shape, device=DEVICE)
    out = paged_attention_triton(made.q, made.cache, made.batch, shape[2] ** -0.5, *mask)
    assert out.is_contiguous()
    close(out, made.expected(shape[2] ** -0.5, *mask))


@pytest.mark.covering(1)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(8, 2, 64, 16), (7, 1, 80, 16)], ids=str)
def test_half_precision(shape, dtype, scene, close):
    made = scene(MIXED, *shape, dtype=dtype, device=DEVICE)
    out = paged_attention_triton(made.q, made.cache, made.batch, shape[2] ** -0.5, 100, 20.0)
    close(out, made.expected(shape[2] ** -0.5, 100, 20.0))


@pytest.mark.parametrize("window", [1, 63, 64, 65, SPLIT - 1, SPLIT, SPLIT + 1, 2 * SPLIT + 1])
def test_windows_that_end_anywhere_in_tiles_and_splits(window, scene, close):
    rows = [(1, 3 * SPLIT + 13), (1, SPLIT), (1, 17), (70, 400), (3, 700), (130, 131)]
    made = scene(rows, 2, 1, 32, device=DEVICE)
    out = paged_attention_triton(made.q, made.cache, made.batch, 0.3, window)
    close(out, made.expected(0.3, window, None))


def test_splits_grow_with_a_context_that_has_the_most_of_them(scene, close):
    longest = SPLIT * MAX_SPLITS
    made = scene([(1, longest + 1), (1, longest), (1, 2 * longest + 300), (1, SPLIT)], 2, 1, 16, 64, device=DEVICE)
    out = paged_attention_triton(made.q, made.cache, made.batch, 0.3)
    close(out, made.expected(0.3, None, None))


@pytest.mark.covering(1)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.02, 0.5)], ids=str)
def test_float8_keys_and_values_are_read_times_their_scales(scales, dtype, scene, close):
    made = scene(MIXED, 8, 2, 64, 16, dtype, DEVICE, FLOAT8, scales)
    out = paged_attention_triton(made.q, made.cache, made.batch, 0.2, 90, 20.0)
    close(out, made.expected(0.2, 90, 20.0))


@pytest.mark.parametrize("mask", [(None, None), (100, None), (None, 2.0)], ids=str)
def test_a_sequence_gets_the_same_bits_twice_and_whatever_its_neighbours(mask, scene):
    made = scene([(1, 3 * SPLIT), (40, 300), (1, 20), (1, CUT), (150, 150)], 6, 2, 32, device=DEVICE)
    whole = paged_attention_triton(made.q, made.cache, made.batch, 0.2, *mask)
    assert torch.equal(paged_attention_triton(made.q, made.cache, made.batch, 0.2, *mask), whole)
    starts = made.batch.query_start.tolist()
    for order in ([3], [4, 2], [2, 1], [4, 3, 2, 1, 0]):
        some = made.take([(sequence, 0, made.spans[sequence].count) for sequence in order])
        out = paged_attention_triton(some.q, some.cache, some.batch, 0.2, *mask)
        rows = [row for sequence in order for row in range(starts[sequence], starts[sequence + 1])]
        assert torch.equal(out, whole[rows])


def test_a_nan_of_a_sequences_own_shows_in_that_sequence_alone(scene):
    made = scene([(1, CUT), (2, 20), (1, 90), (3, 40)], device=DEVICE)
    for sequence in (0, 3):
        made.cache.k[made.spans[sequence].block_table[0], :, 5] = NAN
    out = paged_attention_triton(made.q, made.cache, made.batch, 0.2)
    assert out[[0, 4, 5, 6]].isnan().all()
    assert out[1:4].isfinite().all()


def test_the_block_table_is_not_read_past_a_sequences_own(scene, close):
    made = scene([(1, CUT), (70, 90), (1, 16), (2, 2)], device=DEVICE)
    table = made.batch.block_table.clone()
    for row, span in enumerate(made.spans):
        table[row, len(span.block_table) :] = 2**31 - 1
    out = paged_attention_triton(made.q, made.cache, replace(made.batch, block_table=table), 0.2)
    close(out, made.expected(0.2, None, None))


@pytest.mark.parametrize("window", [None, 30])
def test_buffers_that_stay_in_place_serve_each_step_and_padding_becomes_zero(window, scene, close):
    buffers = DecodeRows(8, 4 * SPLIT, 16, DEVICE)
    batch = buffers.batch(5)
    for rows in ([(1, 40), (1, 3 * SPLIT + 1), (1, CUT)], [(1, 7)], [(1, 16), (1, 17), (1, 1), (1, 200), (1, 900)]):
        made = scene(rows, 6, 2, 32, device=DEVICE)
        buffers.load(made.spans)
        unread = batch.block_table.clone()
        unread[len(rows) :] = 2**31 - 1
        q = torch.full((5, 6, 32), NAN, device=DEVICE)
        q[: len(rows)] = made.q
        out = paged_attention_triton(q, made.cache, replace(batch, block_table=unread), 0.2, window)
        alone = paged_attention_triton(made.q, made.cache, made.batch, 0.2, window)
        assert torch.equal(out[: len(rows)], alone)
        assert not out[len(rows) :].any()
        close(out[: len(rows)], made.expected(0.2, window, None))


@pytest.mark.covering(2)
@pytest.mark.parametrize("stored", [None, FLOAT8], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("kv_heads", "head_dim", "block_size"), [(3, 8, 4), (2, 80, 16), (9, 128, 32)])
def test_each_row_is_written_to_its_slot_and_nothing_else_is_touched(kv_heads, head_dim, block_size, dtype, stored):
    cache = allocate(1, 5, kv_heads, block_size, head_dim, stored or dtype, DEVICE)[0]
    if stored:
        cache = replace(cache, k_scale=0.5, v_scale=0.02)
    cache.k.fill_(-1)
    cache.v.fill_(-2)
    expected = replace(cache, k=cache.k.cpu(), v=cache.v.cpu())
    expected = replace(expected, k=expected.k.clone(), v=expected.v.clone())
    packed = (100 * torch.randn(6, 3 * kv_heads, head_dim, generator=torch.Generator().manual_seed(1))).to(dtype)
    packed[1, :, :4] = torch.tensor([NAN, 1e4, -1e4, 0.0])
    k, v = packed[:, kv_heads : 2 * kv_heads], packed[:, 2 * kv_heads :]
    slots = torch.tensor([3 * block_size + 1, 0, -1, 5 * block_size - 1, block_size - 1, -1])
    write_kv_naive(k, v, expected, slots)
    write_kv_triton(k.to(DEVICE), v.to(DEVICE), cache, slots.to(DEVICE))
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32}[cache.k.itemsize]
    assert torch.equal(cache.k.cpu().view(bits), expected.k.view(bits))
    assert torch.equal(cache.v.cpu().view(bits), expected.v.view(bits))


def test_steps_written_and_read_through_static_buffers_match_a_prefill(scene, close):
    """One sequence decoded token by token, its keys written by the kernel, against the formula over all of it."""
    made = scene([(20, 20)], 4, 2, 32, device=DEVICE)
    table = made.spans[0].block_table
    keys = made.cache.k[table].transpose(1, 2).reshape(-1, 2, 32).clone()
    values = made.cache.v[table].transpose(1, 2).reshape(-1, 2, 32).clone()
    made.cache.k[table], made.cache.v[table] = NAN, NAN
    buffers, rows = DecodeRows(2, 32, 16, DEVICE), []
    batch = buffers.batch(2)
    for position in range(20):
        buffers.load([Span(1, position + 1, table)])
        k, v = (torch.stack([x[position], torch.full_like(x[0], NAN)]) for x in (keys, values))
        write_kv_triton(k, v, made.cache, batch.slot_mapping)
        q = made.q[position].expand(2, -1, -1)
        rows.append(paged_attention_triton(q, made.cache, batch, 0.2)[0])
    close(torch.stack(rows), made.expected(0.2, None, None))

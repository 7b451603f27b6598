from __future__ import annotations

import pytest
import torch

from loraplex_kernels import native
from loraplex_kernels.attention import paged_attention
from loraplex_server.bench.limits.threads import computing_with

PATHS = ["torch", *native.variants()]
MIXED = [(1, 33), (5, 5), (4, 50), (1, 1), (20, 21), (1, 70), (18, 131)]
SHAPES = [  # heads, kv_heads, head_dim, block_size
    (2, 2, 32, 8),
    (4, 2, 64, 16),
    (3, 1, 80, 32),
    (8, 2, 96, 16),
    (5, 1, 128, 8),
    (6, 1, 256, 16),
    (14, 2, 64, 16),
    (8, 1, 24, 5),
]
MASKS = [(None, None), (7, None), (None, 3.0), (64, 2.0)]  # window, softcap


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("path", PATHS[:2])
def test_it_is_the_formula_and_reads_nothing_that_is_not_the_sequences_own(path, shape, dtype, scene, close, use):
    use(path)
    made = scene(MIXED, *shape, dtype=dtype)
    scale = shape[2] ** -0.5
    window, softcap = MASKS[SHAPES.index(shape) % len(MASKS)]
    out = paged_attention(made.q, made.cache, made.batch, scale, window, softcap)
    close(out, made.expected(scale, window, softcap))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mask", MASKS, ids=str)
@pytest.mark.parametrize("path", PATHS)
def test_every_build_computes_every_mask(path, mask, dtype, scene, close, use):
    use(path)
    made = scene([(1, 130), (9, 40)], 6, 2, 40, 16, dtype=dtype)
    out = paged_attention(made.q, made.cache, made.batch, 0.2, *mask)
    close(out, made.expected(0.2, *mask))


@pytest.mark.parametrize("window", [None, 600, 1])
@pytest.mark.parametrize("path", PATHS[:2])
def test_a_context_of_several_parts(path, window, scene, close, use):
    use(path)
    made = scene([(1, 1300), (2, 1025), (1, 512), (3, 513)], 4, 2, 32)
    close(paged_attention(made.q, made.cache, made.batch, 0.4, window), made.expected(0.4, window, None))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_dtypes_go_through_torch(dtype, scene, close):
    made = scene(MIXED[:5], dtype=dtype)
    close(paged_attention(made.q, made.cache, made.batch, 0.3, 9, None), made.expected(0.3, 9, None))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mask", [(None, None), (100, None), (None, 2.0)], ids=str)
@pytest.mark.parametrize("path", PATHS[1:])
def test_a_rows_result_depends_on_its_own_context_alone(path, mask, dtype, scene, use):
    use(path)
    made = scene([(40, 700), (300, 650), (1, 1100), (7, 7)], 6, 2, 64, dtype=dtype)
    whole = paged_attention(made.q, made.cache, made.batch, 0.2, *mask)
    starts = made.batch.query_start.tolist()
    others = [
        [(0, 39, 1)],  # decoding, rather than at the end of its chunk
        [(2, 0, 1), (1, 0, 100), (1, 100, 200)],  # in other chunks and another order
        [(3, 0, 1), (3, 1, 6), (0, 0, 13)],
    ]
    for chosen in others:
        some = made.take(chosen)
        out = paged_attention(some.q, some.cache, some.batch, 0.2, *mask)
        rows = [starts[sequence] + first + i for sequence, first, count in chosen for i in range(count)]
        assert torch.equal(out, whole[rows])


@pytest.mark.parametrize("path", PATHS[1:2])
def test_the_number_of_threads_changes_no_bit(path, scene, use):
    use(path)
    made = scene([(1, 1300), (70, 90)], 4, 2, 32, dtype=torch.bfloat16)
    results = []
    for threads in (1, 2, 3):
        with computing_with(threads):
            results.append(paged_attention(made.q, made.cache, made.batch, 0.2))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_what_does_not_fit_is_refused_by_name(scene):
    made = scene([(2, 2)])
    for q, window, softcap, said in [
        (made.q[:1], None, None, r"q must be \[2, "),
        (made.q[:, :3], None, None, "3 query heads"),
        (made.q[..., :32], None, None, "heads of 32"),
        (made.q.double(), None, None, "float64"),
        (made.q, 0, None, "window"),
        (made.q, None, -1.0, "softcap"),
    ]:
        with pytest.raises(ValueError, match=said):
            paged_attention(q, made.cache, made.batch, 1.0, window, softcap)


@pytest.mark.parametrize("path", PATHS[:2])
def test_a_nan_of_a_sequences_own_shows_in_that_sequence_alone(path, scene, use):
    use(path)
    made = scene([(1, 90), (2, 20)])
    block = made.spans[0].block_table[2]
    made.cache.k[block, :, 5] = float("nan")
    out = paged_attention(made.q, made.cache, made.batch, 0.2)
    assert out[0].isnan().all()
    assert out[1:].isfinite().all()

"""An adapter's arrays lie in one buffer of its true size."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from loraplex_kernels.adapter_layout import ALIGNMENT
from loraplex_kernels.lora import SiteShape, plan, site_weights

shapes_of_an_adapter = st.lists(
    st.builds(
        SiteShape,
        site=st.integers(0, 500),
        in_features=st.integers(1, 300),
        out_features=st.integers(1, 300),
        rank=st.integers(0, 64),
        scale=st.floats(0.1, 4),
        magnitude=st.booleans(),
    ),
    max_size=10,
    unique_by=lambda shape: shape.site,
)


@given(shapes_of_an_adapter, st.sampled_from([2, 4]), st.booleans())
def test_no_two_arrays_overlap_and_all_are_aligned(shapes, itemsize, int8):
    layout = plan(shapes, itemsize, int8=int8)
    itemsize = 1 if int8 else itemsize
    spans = []
    for placement in layout.placements:
        shape = placement.shape
        spans.append((placement.a, shape.rank * shape.in_features * itemsize))
        spans.append((placement.b, shape.rank * shape.out_features * itemsize))
        assert (placement.magnitude is None) == (not shape.magnitude)
        if placement.magnitude is not None:
            spans.append((placement.magnitude, shape.out_features * 4))
        assert (placement.factor is not None) == int8
        if placement.factor is not None:
            spans.append((placement.factor, shape.rank * 4))
    cursor = 0
    for offset, nbytes in sorted(spans):
        assert offset % ALIGNMENT == 0
        assert offset >= cursor
        cursor = offset + nbytes
    assert cursor <= layout.nbytes < cursor + ALIGNMENT * (len(spans) + 1)


@given(shapes_of_an_adapter, st.lists(st.integers(0, 1000), max_size=5))
def test_other_arrays_lie_behind_those_of_the_sites(shapes, others):
    alone, layout = plan(shapes, 2), plan(shapes, 2, others)
    assert layout.placements == alone.placements
    cursor = alone.nbytes
    for offset, nbytes in zip(layout.others, others, strict=True):
        assert offset % ALIGNMENT == 0
        assert offset >= cursor
        cursor = offset + nbytes
    assert cursor <= layout.nbytes < cursor + ALIGNMENT


@given(shapes_of_an_adapter, st.sampled_from([torch.float32, torch.bfloat16]), st.booleans())
def test_views_are_the_buffer(shapes, dtype, int8):
    layout = plan(shapes, dtype.itemsize, int8=int8)
    buffer = torch.zeros(layout.nbytes, dtype=torch.uint8)
    for number, placement in enumerate(layout.placements):
        weights = site_weights(buffer, placement, dtype)
        weights.a.fill_(number + 1)
        weights.b.fill_(-number - 1)
        if weights.magnitude is not None:
            weights.magnitude.fill_(number + 0.5)
        if weights.factor is not None:
            weights.factor.fill_(number + 0.25)
    for number, placement in enumerate(layout.placements):
        weights, shape = site_weights(buffer, placement, dtype), placement.shape
        assert weights.a.shape == (shape.rank, shape.in_features)
        assert weights.b.shape == (shape.rank, shape.out_features)
        assert (weights.a == number + 1).all()
        assert (weights.b == -number - 1).all()
        assert weights.magnitude is None or (weights.magnitude == number + 0.5).all()
        assert weights.a.dtype == weights.b.dtype == (torch.int8 if int8 else dtype)
        assert not int8 or (weights.factor.shape == (shape.rank,) and (weights.factor == number + 0.25).all())


def test_int8_takes_half_the_bytes_of_bfloat16():
    shapes = [SiteShape(site, 896, 4864, 16, 1.0) for site in range(4)]
    half = plan(shapes, 2).nbytes / 2
    assert half < plan(shapes, 2, int8=True).nbytes < 1.002 * half

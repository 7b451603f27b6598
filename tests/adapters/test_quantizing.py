"""Adapters rounded to int8 while they are read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.peft_files import Base, Write, Written
from torch import Tensor

from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.fingerprint import TENSOR_FILE
from loraplex_adapters.loading import LoadedAdapter, read
from loraplex_adapters.put import transposed
from loraplex_adapters.quantizing import Staging, as_served, fill_rounded
from loraplex_kernels import native
from loraplex_kernels.lora import AdapterTable, SiteShape, SiteWeights, plan, site_weights

CPU = torch.device("cpu")
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank 1": {"r": 1},
    "patterns": {"rank_pattern": {"q_proj": 7}, "alpha_pattern": {"v_proj": 3}},
    "dora": {"use_dora": True},
}


def pairs(written: Written, base: Base, **options: Any) -> list[tuple[SiteWeights, SiteWeights]]:
    """Each site's weights as floats and rounded."""
    dtype = options.pop("dtype", torch.float32)
    loaded = [read(written.source, dtype, CPU, base, int8=int8) for int8 in (False, True)]
    sites = [[site_weights(one.buffer, place, dtype) for place in one.layout.placements] for one in loaded]
    return list(zip(*sites, strict=True))


def product(weights: SiteWeights) -> Tensor:
    a, b = as_served(weights)
    return b.float().t() @ a.float()


def rounded(rows: Tensor) -> Tensor:
    """The formula: each row to the nearest of 255 steps, halves to even."""
    scale = rows.abs().amax(dim=1, keepdim=True) / 127
    return torch.where(scale > 0, (rows / scale).round() * scale, 0)


@pytest.fixture(params=["native", "torch"])
def _either_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "torch":
        monkeypatch.setattr(native, "library", lambda: None)


@pytest.mark.usefixtures("_either_path")
@pytest.mark.parametrize("variant", VARIANTS)
def test_each_row_of_a_and_b_is_rounded_by_its_own_scale(write: Write, llama: Base, variant: str) -> None:
    for exact, ours in pairs(write(**VARIANTS[variant]), llama):
        assert ours.a.dtype == ours.b.dtype == torch.int8
        expected = rounded(exact.b).t() @ rounded(exact.a)
        torch.testing.assert_close(product(ours), expected, rtol=1e-5, atol=1e-7)
        assert 0 < (product(ours) - product(exact)).norm() < 0.02 * product(exact).norm()


def test_the_scales_are_of_the_files_numbers_and_not_of_the_served_dtype(write: Write, llama: Base) -> None:
    written = write()
    for (_, wide), (_, narrow) in zip(pairs(written, llama), pairs(written, llama, dtype=torch.bfloat16), strict=True):
        assert torch.equal(wide.a, narrow.a)
        assert torch.equal(wide.b, narrow.b)
        assert torch.equal(wide.factor, narrow.factor)


def test_doras_norms_are_of_the_rounded_weights(write: Write, llama: Base) -> None:
    written = write(use_dora=True)
    loaded = read(written.source, torch.float32, CPU, llama, int8=True)
    m = {name: tensor for name, tensor in load_file(written.folder / TENSOR_FILE).items() if "magnitude" in name}
    for placement in loaded.layout.placements:
        weights = site_weights(loaded.buffer, placement, torch.float32)
        index = placement.shape.site
        norm = torch.linalg.norm(llama.site_weight(index).float() + weights.scale * product(weights), dim=1)
        name = next(name for name in m if llama.shape.sites[index].name in name)
        torch.testing.assert_close(weights.magnitude, m[name] / norm)


def test_a_matrix_of_zeros_adds_nothing(write: Write, llama: Base) -> None:
    written = write()
    written.edit_tensors(lambda tensors: [t.zero_() for name, t in tensors.items() if "lora_B" in name])
    for _, ours in pairs(written, llama):
        assert not ours.factor.any()
        assert not ours.b.any()
        assert not product(ours).any()


def test_what_is_not_finite_is_refused_by_name(write: Write, llama: Base) -> None:
    for value in (float("nan"), float("inf")):
        written = write(f"bad{value}")
        written.edit_tensors(lambda tensors, value=value: next(iter(tensors.values())).view(-1)[:1].fill_(value))
        with pytest.raises(AdapterRefusedError, match="infinity or NaN"):
            read(written.source, torch.float32, CPU, llama, int8=True)


def test_scales_whose_product_overflows_are_refused(write: Write, llama: Base) -> None:
    written = write()
    written.edit_tensors(lambda tensors: [t.fill_(1e38) for t in tensors.values()])
    with pytest.raises(AdapterRefusedError, match="too large"):
        read(written.source, torch.float32, CPU, llama, int8=True)


def test_the_staging_is_as_large_as_the_largest_tensor() -> None:
    layout = plan([SiteShape(0, 8, 40, 2, 1.0), SiteShape(1, 16, 4, 3, 1.0)], 4, int8=True)
    buffer = torch.zeros(layout.nbytes, dtype=torch.uint8)
    sites = [site_weights(buffer, placement, torch.float32) for placement in layout.placements]
    staging = Staging(sites)
    assert staging.nbytes == 2 * 40 * 4
    put = staging.put(transposed, sites[0].b, sites[0].factor)
    values = torch.randn(40, 2)
    assert put.place(0, values[:25].reshape(-1))
    assert not sites[0].b.any()  # a row's scale is not known yet
    assert put.place(50, values[25:].reshape(-1))
    torch.testing.assert_close(sites[0].b * sites[0].factor[:, None], rounded(values.t()))


@pytest.mark.usefixtures("_either_path")
def test_a_computed_update_is_rounded_like_one_of_a_file() -> None:
    layout = plan([SiteShape(0, 8, 40, 2, 1.0)], 4, int8=True)
    weights = site_weights(torch.zeros(layout.nbytes, dtype=torch.uint8), layout.placements[0], torch.float32)
    a, b = np.random.default_rng(1).normal(size=(2, 8)), np.random.default_rng(2).normal(size=(2, 40))
    assert fill_rounded(weights, a, b)
    wide = [torch.from_numpy(each.astype(np.float32)) for each in (a, b)]
    torch.testing.assert_close(product(weights), rounded(wide[1]).t() @ rounded(wide[0]))
    with pytest.raises(ValueError, match="does not round"):
        fill_rounded(weights, a, b.T)
    with pytest.raises(ValueError, match="factor"):
        fill_rounded(replace(weights, factor=None), a, b)
    b[1, 3] = np.nan
    assert not fill_rounded(weights, a, b)


def test_what_was_read_fits_an_int8_table_and_no_other(write: Write, llama: Base) -> None:
    loaded: LoadedAdapter = read(write(r=3).source, torch.float32, CPU, llama, int8=True)
    table = AdapterTable(1, len(llama.shape.sites), torch.float32, CPU, int8=True)
    table.install(0, loaded.layout, loaded.buffer)
    assert table.factor.any()
    with pytest.raises(ValueError, match="int8"):
        AdapterTable(1, len(llama.shape.sites), torch.float32, CPU).install(0, loaded.layout, loaded.buffer)

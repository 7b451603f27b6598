from __future__ import annotations

import numpy as np
import pytest
import torch

from loraplex_adapters.methods.low_rank import LowRank, fold, folded_rank
from loraplex_adapters.methods.product import product, times_weight, weight_times

random = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("rows", "inner", "columns"), [(0, 3, 2), (1, 1, 1), (700, 300, 50), (3, 9000, 40), (5, 4, 9000)]
)
def test_blocks_of_a_product_make_the_whole(rows: int, inner: int, columns: int) -> None:
    left, right = random.normal(size=(rows, inner)), random.normal(size=(inner, columns))
    np.testing.assert_allclose(product(left, right), left @ right, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_weight_is_multiplied_from_both_sides(dtype: torch.dtype) -> None:
    weight = torch.from_numpy(random.normal(size=(300, 170)).astype(np.float32)).to(dtype)
    right = random.normal(size=(170, 6)).astype(np.float32)
    left = random.normal(size=(6, 300)).astype(np.float32)
    np.testing.assert_allclose(weight_times(weight, right), weight.float().numpy() @ right, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(times_weight(left, weight), left @ weight.float().numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rank", "inputs", "outputs"), [(3, 8, 5), (6, 8, 5), (9, 5, 8), (9, 5, 5)])
def test_folding_keeps_the_update_and_bounds_its_rank(rank: int, inputs: int, outputs: int) -> None:
    update = LowRank(random.normal(size=(rank, inputs)), random.normal(size=(outputs, rank)))
    folded = fold(update)
    assert folded.a.shape[0] == folded.b.shape[1] == folded_rank(rank, inputs, outputs)
    np.testing.assert_allclose(folded.b @ folded.a, update.b @ update.a, atol=1e-12)

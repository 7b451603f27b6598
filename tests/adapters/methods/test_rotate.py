from __future__ import annotations

import numpy as np
import pytest
import torch
from peft.tuners.oft.layer import OFTLayer, OFTRotationModule

from loraplex_adapters.methods.rotate import block_size, project, rotation

BLOCKS, SIZE = 3, 6
ELEMENTS = SIZE * (SIZE - 1) // 2


def vectors() -> torch.Tensor:
    return torch.randn(BLOCKS, ELEMENTS, generator=torch.Generator().manual_seed(0)) * 0.3


def oracle(**options) -> np.ndarray:
    """The rotations as PEFT's module applies them to the rows of an identity."""
    module = OFTRotationModule(BLOCKS, ELEMENTS, SIZE, BLOCKS * SIZE, **options)
    module.weight.data = vectors()
    with torch.no_grad():
        whole = module(torch.eye(BLOCKS * SIZE)).numpy().reshape(BLOCKS, SIZE, BLOCKS, SIZE)
    return np.stack([whole[block, :, block] for block in range(BLOCKS)])


@pytest.mark.parametrize("terms", range(1, 9))
def test_the_series_ends_where_pefts_does(terms: int) -> None:
    found = rotation(vectors().double().numpy(), SIZE, terms)
    np.testing.assert_allclose(found, oracle(num_cayley_neumann_terms=terms), atol=1e-5)


def test_the_exact_transform_is_pefts_and_orthogonal() -> None:
    found = rotation(vectors().double().numpy(), SIZE, None)
    np.testing.assert_allclose(found, oracle(use_cayley_neumann=False), atol=1e-6)
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), np.broadcast_to(np.eye(SIZE), found.shape), atol=1e-12)


@pytest.mark.parametrize("eps", [1e-3, 2.5, 100.0])  # all, some, none are shortened
def test_constrained_rotations_are_shortened_like_pefts(eps: float) -> None:
    found = rotation(project(vectors().double().numpy(), eps), SIZE, 5)
    np.testing.assert_allclose(found, oracle(coft=True, eps=eps), atol=1e-6)


def test_block_sizes_are_adjusted_like_pefts() -> None:
    for in_features in range(1, 60):
        for asked in range(1, 70):
            nearest = OFTLayer.adjust_oft_parameters(None, in_features, asked)
            assert block_size(in_features, 0, asked) == nearest
            assert block_size(in_features, asked, 0) == in_features // nearest

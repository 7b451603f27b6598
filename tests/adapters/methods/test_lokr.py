from __future__ import annotations

from peft.tuners.lokr.layer import factorization as pefts_factorization

from loraplex_adapters.methods.lokr import factor_rank, factorization


def test_dimensions_are_split_like_pefts() -> None:
    for dimension in range(1, 300):
        for factor in (-1, 1, 2, 3, 4, 5, 7, 8, 16):
            assert factorization(dimension, factor) == pefts_factorization(dimension, factor)


def test_a_product_never_has_more_rank_than_its_sides() -> None:
    assert factor_rank(((4, 9), (9, 6))) == 4
    assert factor_rank(((8, 2), (2, 6))) == 2
    assert factor_rank(((5, 3),)) == 3

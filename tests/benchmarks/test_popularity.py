from __future__ import annotations

import numpy as np
import pytest

from loraplex_server.bench.load.popularity import Popularity, parse_popularity, with_base_share


def drawn(text: str, adapters: int, count: int) -> list[int | None]:
    return parse_popularity(text).draw(adapters, count, np.random.default_rng(3))


def test_base_names_no_adapter_and_needs_none() -> None:
    assert drawn("base", 0, 3) == [None, None, None]


def test_one_names_the_first_only() -> None:
    assert drawn("one", 9, 3) == [0, 0, 0]


def test_distinct_goes_round_so_that_any_n_in_a_row_differ() -> None:
    picks = drawn("distinct", 4, 10)
    assert all(len(set(picks[start : start + 4])) == 4 for start in range(7))


def test_uniform_names_each_as_often() -> None:
    counts = np.bincount(np.array(drawn("uniform", 5, 10_000), dtype=int))
    assert counts.min() > 1850
    assert counts.max() < 2150


def test_zipf_over_100_adapters_has_the_published_top_share() -> None:
    shares = Popularity("zipf", 1.0).shares(100)
    assert shares[0] == pytest.approx(0.193, abs=5e-4)
    assert sum(shares[:16]) == pytest.approx(0.65, abs=5e-3)
    picks = drawn("zipf:1.0", 100, 20_000)
    assert picks.count(0) / len(picks) == pytest.approx(0.193, abs=0.01)


def test_base_share_moves_exactly_that_many_requests() -> None:
    picks = with_base_share([1] * 40, 0.25, np.random.default_rng(0))
    assert picks.count(None) == 10


def test_a_law_over_no_adapters_is_refused() -> None:
    with pytest.raises(ValueError, match="needs adapters"):
        drawn("uniform", 0, 3)


@pytest.mark.parametrize("text", ["zipf", "zipf:x", "all", ""])
def test_an_unknown_law_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="popularity is base"):
        parse_popularity(text)

from __future__ import annotations

import numpy as np
import pytest

from loraplex_server.bench.load.lengths import parse_lengths


def drawn(text: str, count: int = 4000) -> list[int]:
    return parse_lengths(text).draw(count, np.random.default_rng(1))


def test_a_number_is_that_length_always() -> None:
    assert set(drawn("128")) == {128}


def test_uniform_takes_both_ends_and_nothing_outside() -> None:
    lengths = drawn("uniform:64-67")
    assert set(lengths) == {64, 65, 66, 67}
    assert np.bincount(lengths)[64:].min() > 850


def test_lognormal_has_its_median_and_stays_in_its_bounds() -> None:
    lengths = drawn("lognormal:120,0.8,8-500")
    assert np.median(lengths) == pytest.approx(120, rel=0.06)
    assert min(lengths) == 8
    assert max(lengths) == 500
    assert np.mean(lengths) > 130


@pytest.mark.parametrize("text", ["0", "-3", "uniform:9-3", "uniform:0-3", "lognormal:120", "lognormal:1,1,5-2", "x"])
def test_what_is_no_length_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="a length is") as refusal:
        parse_lengths(text)
    assert repr(text) in str(refusal.value)


@pytest.mark.parametrize("text", ["99999999999", "9" * 5000, "uniform:1-10000001", "lognormal:99999999999,1"])
def test_a_length_beyond_all_contexts_is_refused_before_it_takes_all_memory(text: str) -> None:
    with pytest.raises(ValueError, match="at most 10000000 tokens"):
        parse_lengths(text)
    parse_lengths("lognormal:120.123456789,0.123456789")  # of which the places behind the point are no length

from __future__ import annotations

import numpy as np
import pytest

from loraplex_server.bench.load.arrivals import arrival_times


def gaps(burstiness: float) -> np.ndarray:
    return np.diff(arrival_times(5.0, burstiness, 20_000, np.random.default_rng(2)))


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gaps_have_the_mean_of_the_rate_and_the_variation_of_the_burstiness(burstiness: float) -> None:
    between = gaps(burstiness)
    assert between.mean() == pytest.approx(0.2, rel=0.05)
    assert between.std() / between.mean() == pytest.approx(burstiness**-0.5, rel=0.05)


def test_the_first_arrival_is_the_start_and_there_are_as_many_as_asked() -> None:
    for count in (1, 7):
        times = arrival_times(5.0, 1.0, count, np.random.default_rng(2))
        assert times[0] == 0.0
        assert len(times) == count
        assert times == sorted(times)


def test_a_rate_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="--rate"):
        arrival_times(0.0, 1.0, 3, np.random.default_rng(2))

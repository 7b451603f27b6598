from __future__ import annotations

import pytest

from loraplex_server.bench.load.steady import full_windows, steady_rate


def every(start: float, gap: float, count: int) -> list[tuple[float, float]]:
    return [(start + gap * number, 1.0) for number in range(count)]


def test_a_wave_is_full_from_its_last_first_token_to_its_first_last_token() -> None:
    streams = [every(0.0, 1.0, 11), every(3.0, 1.0, 11)]
    assert full_windows(streams, 2) == [(3.0, 10.0)]
    assert steady_rate(streams, 2) == (2.0, 7.0)


def test_a_single_stream_is_counted_between_its_tokens() -> None:
    rate, seconds = steady_rate([every(5.0, 0.5, 64)], 1) or (0.0, 0.0)
    assert rate == pytest.approx(2.0)
    assert seconds == pytest.approx(63 * 0.5)


def test_time_with_a_prefill_in_it_is_left_out() -> None:
    # The second request's follower has its first token at 9: from 6 to 9 only one stream decodes.
    streams = [every(0.0, 1.0, 16), every(0.0, 1.0, 7), every(9.0, 1.0, 7)]
    assert full_windows(streams, 2) == [(0.0, 6.0), (9.0, 15.0)]
    assert steady_rate(streams, 2) == (2.0, 12.0)


def test_events_of_several_tokens_count_as_many() -> None:
    assert steady_rate([[(0.0, 1.0), (1.0, 4.0), (2.0, 4.0)]], 1) == (4.0, 2.0)


def test_streams_that_never_decode_together_have_no_rate() -> None:
    assert steady_rate([every(0.0, 1.0, 3), every(5.0, 1.0, 3)], 2) is None
    assert steady_rate([[(1.0, 1.0)]], 1) is None
    assert steady_rate([], 0) is None

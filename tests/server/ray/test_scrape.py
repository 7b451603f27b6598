"""The metrics of several replicas are one text that Prometheus reads."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ray.exceptions import ActorDiedError
from starlette.types import Message

from loraplex_server.ray.scrape import answered, merged, patience

ONE = """\
# HELP vllm:num_requests_running Running.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0"} 2.0
# HELP loraplex_x Times of "{x}" = 1.
# TYPE loraplex_x histogram
loraplex_x_bucket{le="0.1",name="a {b} \\" c"} 1.0
loraplex_x_bucket{le="+Inf",name="a {b} \\" c"} 1.0
loraplex_x_count 1.0
loraplex_x_sum 0.05
"""
TWO = """\
# HELP vllm:num_requests_running Running.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0"} 3.0
# HELP loraplex_only_here_total Other.
# TYPE loraplex_only_here_total counter
loraplex_only_here_total 4.0
"""


def test_each_series_is_there_for_each_replica_and_families_stay_together() -> None:
    text = merged({"r1": ONE, "r2": TWO})
    families = {family.name: family for family in text_string_to_metric_families(text)}
    running = {
        (s.labels["replica"], s.labels["engine"]): s.value for s in families["vllm:num_requests_running"].samples
    }
    assert running == {("r1", "0"): 2.0, ("r2", "0"): 3.0}
    assert {s.labels["name"] for s in families["loraplex_x"].samples if "name" in s.labels} == {'a {b} " c'}
    assert [s.labels for s in families["loraplex_only_here"].samples] == [{"replica": "r2"}]
    assert text.count("# TYPE vllm:num_requests_running gauge") == 1


def test_what_is_no_sample_is_an_error() -> None:
    with pytest.raises(ValueError, match="no sample"):
        merged({"r1": "not a sample at all {"})


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (b"1", 0.8),
        (b"0.5", 0.4),
        (None, 8.0),
        (b"", 8.0),
        (b"soon", 8.0),
        (b"0", 8.0),
        (b"-1", 8.0),
        (b"nan", 8.0),
        (b"inf", 8.0),
    ],
)
def test_replicas_have_a_little_less_time_than_the_scrape(said: bytes | None, seconds: float) -> None:
    headers = [(b"host", b"here")] + ([] if said is None else [(b"x-prometheus-scrape-timeout-seconds", said)])
    assert patience(headers) == pytest.approx(seconds)


def test_a_replica_that_died_takes_only_its_own_series_with_it() -> None:
    one: tuple[str, list[Message]] = ("r1", [{"type": "http.response.start", "status": 200}])
    assert answered([ActorDiedError(), one]) == [one]
    with pytest.raises(ActorDiedError):
        answered([ActorDiedError()])


def test_what_goes_wrong_in_a_replica_is_not_left_out() -> None:
    with pytest.raises(ZeroDivisionError):
        answered([("r1", []), ZeroDivisionError()])

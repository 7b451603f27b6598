"""The metrics of several replicas are one text that Prometheus reads."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from loraplex_server.ray.scrape import merged

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

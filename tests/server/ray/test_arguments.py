"""What an application of Ray Serve may be told."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.servers import DEMO

from loraplex_server.ray.arguments import read_arguments
from loraplex_server.ray.resources import replica_options
from loraplex_server.settings import SettingsError

BASE = str(DEMO / "base")


def test_args_win_over_the_file_and_the_file_over_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("max-num-seqs: 4\nmax_queued_requests: 5\n")
    told = {"model": BASE, "config": str(file), "max-num-seqs": 3}
    environ = {"LORAPLEX_MAX_NUM_SEQS": "7", "LORAPLEX_MAX_QUEUED_REQUESTS": "8", "LORAPLEX_DEVICE": "cpu"}
    settings = read_arguments(told, environ).settings
    assert (settings.max_num_seqs, settings.max_queued_requests, settings.device) == (3, 5, "cpu")


def test_the_demo_brings_its_model_and_its_adapters() -> None:
    settings = read_arguments({"demo": True, "adapters_per_replica": 3}, {}).settings
    assert (settings.model, settings.adapters) == (BASE, DEMO / "adapters")
    assert settings.response_store_size == 0  # it would be one replica's alone


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"port": 8000}, "port in the application's args: Ray's proxies listen"),
        ({"state-dir": "/state"}, "state_dir in the application's args: each replica"),
        ({"response_store_size": "1MiB"}, "response_store_size in the application's args: each replica"),
        ({"max_num_seq": 3}, "unknown key 'max_num_seq' in the application's args; did you mean max_num_seqs?"),
        ({"max_num_seqs": 0}, "max_num_seqs in the application's args: input should be greater than 0 (got '0')"),
        ({"adapters_per_replica": 0}, "adapters_per_replica in the application's args: must be a whole number above 0"),
        ({"demo": "yes"}, "demo in the application's args: must be true or false (got 'yes')"),
    ],
)
def test_what_means_nothing_here_is_named(told: dict[str, object], problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_arguments({"model": BASE, **told}, {})
    assert problem in str(caught.value)


def test_what_an_image_sets_for_a_server_that_listens_is_ignored_and_told() -> None:
    environ = {"LORAPLEX_HOST": "0.0.0.0", "LORAPLEX_STATE_DIR": "/state"}
    arguments = read_arguments({"model": BASE}, environ)
    assert arguments.ignored == ("host", "state_dir")
    assert (arguments.settings.host, arguments.settings.state_dir) == ("127.0.0.1", None)


def test_a_replica_takes_what_its_settings_say() -> None:
    cpu = replica_options(read_arguments({"model": BASE, "device": "cpu", "threads": 3}, {}).settings)
    assert cpu["ray_actor_options"] == {"num_cpus": 3}
    cuda = replica_options(read_arguments({"model": BASE, "device": "cuda", "max_num_seqs": 64}, {}).settings)
    assert cuda["ray_actor_options"] == {"num_cpus": 2, "num_gpus": 1}
    assert cuda["max_ongoing_requests"] == 80
    ranks = {"model": BASE, "device": "cuda", "tensor_parallel_size": 4}
    assert replica_options(read_arguments(ranks, {}).settings)["ray_actor_options"] == {"num_cpus": 5, "num_gpus": 4}
    ranks |= {"device": "cpu", "threads": 2}
    assert replica_options(read_arguments(ranks, {}).settings)["ray_actor_options"] == {"num_cpus": 8}


@pytest.mark.parametrize(("queued", "allowed"), [(500, 500), (0, 64)])
def test_a_burst_that_fits_is_not_refused_for_being_on_its_way(queued: int, allowed: int) -> None:
    told = {"model": BASE, "device": "cuda", "max_num_seqs": 64, "max_queued_requests": queued}
    assert replica_options(read_arguments(told, {}).settings)["max_queued_requests"] == allowed


@pytest.mark.parametrize(("told", "problem"), [({}, "device in"), ({"device": "cpu"}, "threads in")])
def test_what_a_replica_takes_is_never_guessed(told: dict[str, object], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        replica_options(read_arguments({"model": BASE, **told}, {}).settings)

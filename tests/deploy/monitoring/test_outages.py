"""What goes wrong at a real server makes its alerts fire, by the shipped rules on a clock thirty times as fast."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import grafana
from support.monitored import BOARD, RULES, World, watched
from support.prometheus import Prometheus, hurried
from support.servers import Server, wait_ready
from support.traffic import CALM, breaks, hurry, mix, repeat, rush, same, stream, visiting, write_long

pytestmark = pytest.mark.slow
LIMIT_S = 600.0  # only what never comes takes so long


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with watched(tmp_path_factory.mktemp("outages"), hurried(RULES)) as both:
        yield both


def wait_firing(prometheus: Prometheus, *names: str) -> None:
    for name in names:
        prometheus.wait(f'ALERTS{{alertname="{name}", alertstate="firing"}}', LIMIT_S)


def wait_quiet(prometheus: Prometheus, *names: str) -> None:
    for name in names:
        prometheus.wait(f'absent(ALERTS{{alertname="{name}", alertstate="firing"}})', LIMIT_S)


def killed_engine(server: Server) -> int:
    """Kill it; the process that is started in its place."""
    engine = server.engine_pid()
    os.kill(engine, signal.SIGKILL)
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(ValueError, FileNotFoundError, ProcessLookupError):  # there is none between the two
            successor = server.engine_pid()
            # Until it is a program of its own, the server waits for it.
            if b"loraplex_server.engine" in Path(f"/proc/{successor}/cmdline").read_bytes() and successor != engine:
                return successor
        time.sleep(0.01)
    raise AssertionError("no engine was started in its place")


@contextlib.contextmanager
def held_back(engine: int) -> Iterator[None]:
    """While the block runs: so small an engine is back before anybody can see that it was away."""
    os.kill(engine, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(engine, signal.SIGCONT)


def test_a_faster_clock_changes_times_alone() -> None:
    rule = 'rate(x{le="2.5"}[5m]) > 14.4 for: 15m [6h] process_start_time_seconds > 900'
    assert hurried(rule) == 'rate(x{le="2.5"}[10s]) > 14.4 for: 30s [720s] process_start_time_seconds > 30'


def test_refusals_and_adapters_that_come_and_go(world: World) -> None:
    kinds = {"rush": rush, "limited": same, "breaks": breaks, "mix": mix}
    with visiting(world.server.url, kinds, world.secrets):
        wait_firing(world.prometheus, "LoraplexRejections", "LoraplexTenantLimited")
        wait_firing(world.prometheus, "LoraplexAdapterLoadFailures", "LoraplexAdapterThrash")
    wait_quiet(world.prometheus, "LoraplexRejections")


def test_too_little_time_and_too_little_memory(world: World) -> None:
    with visiting(world.server.url, {"hurry": hurry, "write_long": write_long}, world.secrets):
        wait_firing(world.prometheus, "LoraplexDeadlines", "LoraplexPreemptions")


def test_an_engine_that_stands_still(world: World) -> None:
    prometheus, engine = world.prometheus, world.server.engine_pid()
    with visiting(world.server.url, {"stream": stream, "rush": rush}, world.secrets):
        prometheus.wait("min_over_time(loraplex_http_requests_in_flight[3s]) > 0")
        os.kill(engine, signal.SIGSTOP)
        try:
            wait_firing(prometheus, "LoraplexStuck")
        finally:
            os.kill(engine, signal.SIGCONT)
        wait_quiet(prometheus, "LoraplexStuck")


def test_an_engine_that_dies_again_and_again(world: World) -> None:
    server, prometheus = world.server, world.prometheus
    with visiting(server.url, CALM, world.secrets):
        prometheus.wait("loraplex_engine_restarts_total == 0")  # what it never saw could not increase
        with held_back(killed_engine(server)):
            wait_firing(prometheus, "LoraplexEngineRestarted", "LoraplexEngineDown")
        prometheus.wait("loraplex_engine_restarts_total == 1")
        wait_ready(server)
        for _ in range(3):  # before it is up: they must follow each other quickly, and a busy machine starts it slowly
            successor = killed_engine(server)
        with held_back(successor):
            wait_firing(prometheus, "LoraplexEngineRestarting")
            known = grafana.variables(BOARD, prometheus)
            prometheus.wait(grafana.marks(BOARD, known, window="30s")["Engine restarts"])
            wait_firing(prometheus, "LoraplexEngineDown", "LoraplexErrorRate")
        prometheus.wait("loraplex_engine_restarts_total == 4")
        wait_ready(server)
        wait_quiet(prometheus, "LoraplexEngineDown")


def test_a_server_that_does_not_end_and_one_that_is_gone(world: World) -> None:
    """The last: it ends the server."""
    prometheus, engine = world.prometheus, world.server.engine_pid()
    os.kill(engine, signal.SIGSTOP)
    try:
        with visiting(world.server.url, {"repeat": repeat}, world.secrets):
            prometheus.wait("loraplex_http_requests_in_flight > 0")
            world.server.process.terminate()
            wait_firing(prometheus, "LoraplexSlowDrain")
            world.server.process.kill()
        wait_firing(prometheus, "LoraplexTargetDown")
        wait_quiet(prometheus, "LoraplexSlowDrain")
    finally:
        os.kill(engine, signal.SIGKILL)

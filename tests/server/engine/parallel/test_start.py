"""What rank 0 learns of followers while they start, whatever its own main thread waits for."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from support.api import until
from support.checkpoints import write_base
from support.engines import make_engine

from loraplex_server.engine import build
from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.errors import EngineStartError
from loraplex_server.engine.parallel import child as child_file
from loraplex_server.engine.parallel import distributed
from loraplex_server.engine.parallel.lead import Lead
from loraplex_server.engine.parallel.messages import Here

pytestmark = pytest.mark.slow
Start = Callable[..., Lead]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def start(base: Path, told: list[str], tmp_path: Path) -> Iterator[Start]:
    leads: list[Lead] = []

    def one(device: str = "cpu") -> Lead:
        config = EngineConfig(model=str(base), device=device, threads=1, tensor_parallel_size=2)
        leads.append(Lead(config, told.append, tmp_path))
        return leads[-1]

    yield one
    for lead in leads:
        lead.close()


async def test_a_death_is_told_while_rank_0_waits_for_something_else(
    start: Start, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as for that rank to come to an exchange."""
    monkeypatch.setattr(child_file, "NOTICE_S", 0.2)
    (child,) = start().children
    child.expect(Here)
    os.kill(child.pid, signal.SIGKILL)
    await until(lambda: told == ["rank 1 ended before it was ready, with code -9"])


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="the second rank has a device")
async def test_why_it_cannot_start_is_told_too(start: Start, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_file, "NOTICE_S", 0.2)
    start("cuda")
    await until(lambda: bool(told))
    assert told[0].startswith("rank 1: ")
    assert "cuda" in told[0]


async def test_it_is_not_told_where_rank_0_sees_it(start: Start, told: list[str]) -> None:
    lead = start()
    (child,) = lead.children
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(EngineStartError, match="rank 1 ended before it was ready, with code -9"):
        lead.join(torch.device("cpu"))
    lead.close()
    assert told == []


def test_what_a_death_makes_of_an_exchange_is_not_the_reason(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gloo says that a connection was closed, which tells nobody what to do."""

    def exchanging(config: EngineConfig, device: torch.device, others: Lead, wake: object) -> None:
        (child,) = others.children
        child.expect(Here)
        os.kill(child.pid, signal.SIGKILL)
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(build, "_build", exchanging)
    with pytest.raises(EngineStartError, match="rank 1 ended before it was ready, with code -9"):
        make_engine(base, tensor_parallel_size=2, threads=1)


async def test_a_follower_is_heard_before_it_is_ready(start: Start) -> None:
    (child,) = start().children
    await until(lambda: child.heard >= 4)  # it waits for rank 0, which does not come
    assert not child.ready


async def test_who_is_killed_and_does_not_end_is_not_said_to_have(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end of the socket closes first. `Watch` gives it up only as long as it is there."""
    (child,) = start().children
    child.expect(Here)
    wait, ends = child._process.wait, threading.Event()

    def hanging(timeout: float | None = None) -> int:
        if timeout is None and not ends.wait(60):
            raise subprocess.TimeoutExpired("a follower", 60)
        return wait(timeout)

    monkeypatch.setattr(child._process, "wait", hanging)
    child.kill()
    thread = next(each for each in threading.enumerate() if each.name == "rank-1" and each.is_alive())
    await until(lambda: Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z")
    assert not child.ended
    ends.set()
    thread.join(10)
    assert child.ended


def test_what_the_ranks_share_is_where_its_owner_can_remove_it(start: Start, tmp_path: Path) -> None:
    lead = start()
    (shared,) = tmp_path.iterdir()
    lead.close()
    assert not shared.exists()


def test_gpus_of_one_host_find_each_other_over_its_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str | None] = []

    class Backend(SimpleNamespace):
        Options = SimpleNamespace

        def __init__(self, *args: Any) -> None:
            made.append(os.environ.get("NCCL_SOCKET_IFNAME"))

    monkeypatch.setattr(dist, "ProcessGroupNCCL", Backend, raising=False)
    for asked in (None, "eth1"):
        with monkeypatch.context() as environment:
            environment.setenv("NCCL_SOCKET_IFNAME", asked or "")
            if asked is None:
                environment.delenv("NCCL_SOCKET_IFNAME")
            distributed._backend(None, 0, 2, torch.device("cuda"))
    assert made == ["lo", "eth1"]

"""The engine process by itself: when it ends, and what it says last."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.messages import EngineFailed
from loraplex_server.engine.wire import Launch, decode_from_engine

# A model that takes long to load, and one whose other rank dies while this one waits for it.
LOADS = "import time, loraplex_server.engine.process as p; p.build_engine = lambda *_: time.sleep(600); p.main()"
LOSES = """
import threading, time, loraplex_server.engine.process as p
def build(config, wake, gone, folder):
    threading.Thread(target=gone, args=(f"lost, in {folder}",)).start()
    time.sleep(600)
p.build_engine = build
p.main()
"""
LIMIT_S = 120.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:  # whose path is short: it is a socket's address
        yield Path(folder)


def started(code: str, folder: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    launch = Launch(EngineConfig(model="none"), f"ipc://{folder}/requests", f"ipc://{folder}/replies")
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(launch) + b"\n")
    process.stdin.flush()
    return process


def test_it_ends_with_the_server_even_while_it_loads(folder: Path) -> None:
    with started(LOADS, folder) as process:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(3)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(LIMIT_S) == 1
        finally:
            process.kill()


def test_a_rank_that_is_lost_ends_it_with_the_reason_whatever_it_waits_for(folder: Path) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as replies, started(LOSES, folder) as process:
        try:
            replies.bind(f"ipc://{folder}/replies")
            assert replies.poll(1000 * LIMIT_S)
            assert decode_from_engine(replies.recv()) == EngineFailed(message=f"lost, in {folder}")
            assert process.wait(LIMIT_S) == 1
        finally:
            process.kill()

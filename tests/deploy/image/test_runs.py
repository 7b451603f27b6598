"""The image as a container: without rights, on a root that cannot be written, as process 1 of its own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.contained import LIMIT_S, URL, ready, wait
from support.containers import Container, Shape, once, running
from support.images import Image
from support.network import Network
from support.servers import DEMO, NO_TLS

pytestmark = pytest.mark.slow
TOKENS = 100  # of an answer that is cut off by nothing else
MODEL = ["/models", "--adapters", "/adapters", "--served-model-name", "demo"]
MOUNTED = {DEMO / "base": "/models", DEMO / "adapters": "/adapters"}


def ask(word: str = "stone", **fields: Any) -> Any:
    body = {"model": "reverse", "messages": [{"role": "user", "content": word}], "temperature": 0, **fields}
    return httpx.post(f"{URL}/v1/chat/completions", json=body, timeout=120, verify=NO_TLS)


def answer(word: str) -> str:
    return str(ask(word).json()["choices"][0]["message"]["content"])


def engine_of(container: Container) -> int:
    (pid,) = (pid for pid, line in container.processes().items() if "loraplex_server.engine" in line)
    return pid


@pytest.fixture(scope="module")
def server(image: Image, network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """As `docker run IMAGE MODEL --option ...`, with volumes for what it writes."""
    folder = tmp_path_factory.mktemp("server")
    shape = Shape(command=MODEL, bound=MOUNTED, writable={folder / "cache": "/cache", folder / "state": "/state"})
    with network.inside(running(image, folder / "bundle", shape)) as container:
        network(wait, ready, "ready", container)
        yield container


def test_an_adapter_answers_as_it_learnt(server: Container, network: Network) -> None:
    assert network(answer, "stone") == "enots"


def test_it_runs_as_nobody_special(server: Container) -> None:
    assert server.run("id").stdout.startswith("uid=10001(loraplex) gid=10001(loraplex)")
    status = server.run("cat", "/proc/1/status").stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert fields["Uid"].split() == ["10001"] * 4
    assert int(fields["CapEff"], 16) == 0
    assert fields["NoNewPrivs"] == "1"


@pytest.mark.parametrize("place", ["/", "/opt/loraplex", "/models", "/adapters", "/etc", "/usr/lib"])
def test_a_write_is_refused(server: Container, place: str) -> None:
    done = server.run("touch", f"{place}/new")
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr


@pytest.mark.parametrize("place", ["/tmp", "/cache", "/state"])
def test_three_places_take_a_write(server: Container, place: str) -> None:
    assert server.run("touch", f"{place}/new").returncode == 0


def test_its_own_check_finds_it_healthy(server: Container, image: Image, network: Network) -> None:
    kind, *command = image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    done = network(server.run, *command)
    assert (done.returncode, done.stderr) == (0, "")


def test_its_check_asks_where_the_server_listens_whatever_the_variable_says(
    server: Container, image: Image, network: Network
) -> None:
    done = network(server.run, "env", "LORAPLEX_PORT=8001", *image.config["Healthcheck"]["Test"][1:])
    assert (done.returncode, done.stderr) == (0, "")


def test_its_check_says_why_where_nothing_listens(image: Image, own_network: Network, tmp_path: Path) -> None:
    shape = Shape(entrypoint=[], command=image.config["Healthcheck"]["Test"][1:])
    code, said = own_network(once, image, tmp_path / "bundle", shape)
    assert code == 1
    assert "refused" in said


def test_an_engine_that_is_killed_comes_back_and_leaves_nothing_dead(server: Container, network: Network) -> None:
    killed = engine_of(server)
    os.kill(killed, signal.SIGKILL)
    network(wait, lambda: not ready() or killed not in server.processes(), "the engine is gone", server)
    network(wait, ready, "ready again", server)
    assert network(answer, "melon") == "nolem"
    assert engine_of(server) != killed
    wait(lambda: all(server.processes().values()), "no process is dead and still there", server)


def test_an_orphan_is_collected(server: Container) -> None:
    before = set(server.processes())
    assert server.run("sh", "-c", "sleep 0.2 &").returncode == 0
    wait(lambda: set(server.processes()) == before, "the orphan ended and was collected", server)


def test_a_stream_in_flight_ends_whole_when_a_manifest_of_vllms_is_stopped(
    image: Image, own_network: Network, tmp_path: Path
) -> None:
    modules = [f"{name}=/adapters/{name}" for name in ("reverse", "upper")]
    shape = Shape(
        entrypoint=["vllm", "serve"],
        command=["/models", "--enable-lora", "--max-loras", "2", "--lora-modules", *modules, "--max-model-len", "128"],
        bound=MOUNTED,
        writable={tmp_path / "cache": "/cache"},
    )

    def stopped_while_it_streams() -> list[str]:
        wait(ready, "ready", container)
        body = {"model": "upper", "prompt": "stone", "ignore_eos": True, "max_tokens": TOKENS, "stream": True}
        body["stream_options"] = {"include_usage": True}
        with httpx.stream("POST", f"{URL}/v1/completions", json=body, timeout=120, verify=NO_TLS) as stream:
            lines = stream.iter_lines()
            got = [next(lines)]
            container.signal("TERM")
            got += [line for line in lines if line]
        return got

    with own_network.inside(running(image, tmp_path / "bundle", shape)) as container:
        lines = own_network(stopped_while_it_streams)
        code = container.process.wait(LIMIT_S)
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert lines[-1] == "data: [DONE]"
    assert events[-2]["choices"][0]["finish_reason"] == "length"
    assert events[-1]["usage"]["completion_tokens"] == TOKENS
    assert code == 0


def test_it_ends_at_once_while_python_still_starts(image: Image, tmp_path: Path) -> None:
    with running(image, tmp_path / "bundle", Shape(command=["/models"], bound=MOUNTED)) as container:
        wait(lambda: container.exists() and len(container.processes()) > 1, "its process is there", container)
        container.signal("TERM")
        assert container.process.wait(LIMIT_S) in (0, 128 + signal.SIGTERM)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["vllm", "serve", "--help"], id="vllm serve"),
        pytest.param(["python3", "-m", "vllm.entrypoints.openai.api_server", "--help"], id="its module"),
        pytest.param(["loraplex", "serve", "--help"], id="ours"),
    ],
)
def test_every_way_to_start_it_is_understood(image: Image, tmp_path: Path, command: list[str]) -> None:
    code, said = once(image, tmp_path / "bundle", Shape(entrypoint=[], command=command))
    assert code == 0, said
    assert said.startswith("usage: loraplex serve MODEL")


def test_it_tells_its_version(image: Image, tmp_path: Path) -> None:
    code, said = once(image, tmp_path / "bundle", Shape(command=["--version"]))
    assert (code, said.strip()) == (0, image.config["Labels"]["org.opencontainers.image.version"])


def test_what_is_not_served_of_vllm_is_refused(image: Image, tmp_path: Path) -> None:
    code, said = once(image, tmp_path / "bundle", Shape(entrypoint=["vllm"], command=["bench", "latency"]))
    assert code == 2
    assert "vllm serve" in said


def test_without_a_model_it_says_that_one_is_missing(image: Image, tmp_path: Path) -> None:
    code, said = once(image, tmp_path / "bundle", Shape())
    assert code == 2
    assert "MODEL is missing" in said


def test_threads_follow_the_containers_share_of_time(image: Image, tmp_path: Path) -> None:
    ask = ["-c", "from loraplex_server.engine.cores import usable_cores; print(usable_cores())"]
    for share in (1.0, 0.5):
        shape = Shape(entrypoint=["python3"], command=ask, cpus=share)
        code, said = once(image, tmp_path / f"bundle-{share}", shape)
        assert (code, said.strip()) == (0, "1")

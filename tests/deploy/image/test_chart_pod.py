"""The chart's pod in the real image: its arguments, variables, mounts and read-only root; its probes and its end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from support.charts import Object, pod_of, render, server_of, settings_text, the
from support.containers import Container, Shape, running
from support.images import Image
from support.network import Network
from support.servers import NO_TLS

pytestmark = pytest.mark.slow
URL = "http://127.0.0.1:8000"
LIMIT_S = 600.0
# What the kubelet mounts read-only, or keeps in memory; the rest are folders of the node.
IN_MEMORY = ("/tmp", "/dev/shm")


@pytest.fixture(scope="module")
def objects() -> tuple[Object, ...]:
    return render({"demo": True, "shutdown": {"delaySeconds": 5, "timeoutSeconds": 40}})


def shape_of(objects: tuple[Object, ...], folder: Path) -> Shape:
    """The pod's container, as a kubelet would have it run."""
    container = server_of(objects)
    settings = folder / "settings"
    settings.mkdir()
    (settings / "loraplex.yaml").write_text(settings_text(objects), encoding="utf-8")
    writable = {}
    bound = {}
    for mount in container["volumeMounts"]:
        if mount["name"] == "settings":
            bound[settings] = mount["mountPath"]
        elif mount["mountPath"] not in IN_MEMORY:
            writable[folder / mount["name"]] = mount["mountPath"]
    return Shape(
        command=container["args"],
        environment={each["name"]: each["value"] for each in container["env"]},
        bound=bound,
        writable=writable,
        read_only=container["securityContext"]["readOnlyRootFilesystem"],
    )


def wait(condition: Callable[[], bool], what: str, container: Container) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert container.process.poll() is None, container.log.read_text()
        assert time.monotonic() < deadline, f"never: {what}\n{container.log.read_text()}"
        time.sleep(0.1)


def status(path: str) -> int:
    """0 where nobody answers."""
    try:
        return httpx.get(URL + path, timeout=60, verify=NO_TLS).status_code
    except httpx.TransportError:
        return 0


@pytest.fixture(scope="module")
def server(
    image: Image, network: Network, objects: tuple[Object, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    folder = tmp_path_factory.mktemp("pod")
    with network.inside(running(image, folder / "bundle", shape_of(objects, folder))) as container:
        ready = server_of(objects)["readinessProbe"]["httpGet"]["path"]
        network(wait, lambda: status(ready) == 200, "ready", container)
        yield container


def test_its_probes_succeed(objects: tuple[Object, ...], server: Container, network: Network) -> None:
    for kind in ("startup", "liveness", "readiness"):
        assert network(status, server_of(objects)[f"{kind}Probe"]["httpGet"]["path"]) == 200


def test_the_releases_test_runs_in_it(objects: tuple[Object, ...], server: Container, network: Network) -> None:
    (container,) = the("Pod", objects)["spec"]["containers"]
    program, _ = container["args"]
    done = network(server.run, *container["command"], program, URL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" 200 ") == 3


def test_it_is_the_chart_user(objects: tuple[Object, ...], server: Container) -> None:
    context = pod_of(objects)["securityContext"]
    assert server.run("id", "-u").stdout.strip() == str(context["runAsUser"])


def test_it_ends_by_itself_within_its_grace_period(
    objects: tuple[Object, ...], server: Container, network: Network
) -> None:
    server.signal(signal.Signals.SIGTERM.name.removeprefix("SIG"))
    network(wait, lambda: status("/ready") == 503, "not ready", server)
    assert server.process.wait(pod_of(objects)["terminationGracePeriodSeconds"]) == os.EX_OK

"""What docker compose starts, run by runc: the demo, its traffic, and a real Prometheus with the files beside it."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.compose import FOLDER, read_compose, shape_of
from support.containers import Container, running
from support.grafana import queries, variables
from support.images import Image
from support.installed import program
from support.network import Network
from support.prometheus import Prometheus, wait_ready
from support.servers import ROOT

pytestmark = pytest.mark.slow
SERVICES = read_compose()["services"]
BOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "loraplex.json").read_text(encoding="utf-8"))
LIMIT_S = 240.0


@contextlib.contextmanager
def service(name: str, image: Image, folder: Path, hosts: Path) -> Iterator[Container]:
    shape = shape_of(SERVICES[name], folder)
    with running(image, folder / name, replace(shape, bound={**shape.bound, hosts: "/etc/hosts"})) as container:
        yield container


@contextlib.contextmanager
def prometheus(folder: Path, hosts: Path) -> Iterator[Prometheus]:
    """Debian's, with compose's files: the names of services are in a file of hosts that only it sees."""
    files = folder / "prometheus"
    files.mkdir()
    for path in (FOLDER / "prometheus.yaml", ROOT / "deploy" / "prometheus" / "rules.yaml"):
        (files / path.name).write_bytes(path.read_bytes())
    command = shlex.join(
        [
            *(program("prometheus"), f"--config.file={files / 'prometheus.yaml'}"),
            *(f"--storage.tsdb.path={files / 'data'}", "--web.listen-address=127.0.0.1:9090", "--log.level=warn"),
        ]
    )
    inside = ["unshare", "--mount", "sh", "-c", f"mount --bind {shlex.quote(str(hosts))} /etc/hosts && exec {command}"]
    with (files / "log").open("wb") as log:
        process = subprocess.Popen(inside, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_ready("http://127.0.0.1:9090", process, files / "log")
        yield Prometheus("http://127.0.0.1:9090")
    finally:
        process.kill()
        process.wait()


def panels(asked: Prometheus) -> tuple[set[str], set[str]]:
    """Titles of those that show something, and of those that do not."""
    found: dict[str, bool] = {}
    for query in queries(BOARD, variables(BOARD, asked), "30s", "5m"):
        title = query.panel["title"]
        found[title] = bool(asked.query(query.expr)) or found.get(title, False)
    return {title for title in found if found[title]}, {title for title in found if not found[title]}


def test_one_command_makes_the_panels_live(image: Image, own_network: Network, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost loraplex prometheus\n", encoding="utf-8")

    def whole() -> None:
        with (
            service("loraplex", image, tmp_path, hosts) as server,
            prometheus(tmp_path, hosts) as asked,
        ):
            asked.wait('up{job="loraplex"} == 1', LIMIT_S)
            asked.wait("loraplex_engine_up == 1", LIMIT_S)
            assert server.run(*SERVICES["loraplex"]["healthcheck"]["test"][1:]).returncode == 0
            with service("traffic", image, tmp_path, hosts) as traffic:
                asked.wait('sum(increase(vllm:request_success_total{finished_reason!="abort"}[1m])) > 20', LIMIT_S)
                asked.wait("count(loraplex_adapter_requests_total > 0) >= 3", LIMIT_S)
                assert traffic.process.poll() is None, traffic.log.read_text()
                shown, still = panels(asked)
                assert len(shown) > 2 * len(still), f"nothing in {still}"
            broken = {rule["name"]: rule["lastError"] for rule in asked.rules() if rule["health"] == "err"}
            assert broken == {}
            assert not asked.firing()
            server.signal("TERM")
            assert server.process.wait(LIMIT_S) == 0

    own_network(whole)

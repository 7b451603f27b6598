"""A server with the chart's settings, as they were rendered: probes, the release's test, keys, and the autoscaler."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.charts import Object, render, rendered, server_of, the, workload
from support.pods import laid_out
from support.prometheus import scraping
from support.servers import Server, serving

from loraplex_server.tenants.secret import digest_of, new_secret

pytestmark = pytest.mark.slow

SECRET = new_secret()
ADMIN = "an-admins-key"
VALUES = {
    "demo": True,
    "shutdown": {"delaySeconds": 0},  # nobody has to hear that it goes
    "metrics": {"monitor": {"enabled": True}},
    "auth": {"adminKey": {"value": ADMIN}},
    "tenants": {
        "keys": [
            {"id": "acme-1", "hash": f"sha256:{digest_of(SECRET).hex()}", "tenant": "acme", "adapters": ["reverse"]}
        ]
    },
    "autoscaling": {
        "type": "keda",
        "minReplicas": 0,
        "keda": {"serverAddress": "http://prometheus:9090", "wakeQuery": "sum(scrape_samples_scraped)"},
    },
}


@pytest.fixture(scope="module")
def objects() -> tuple[Object, ...]:
    return render(VALUES)


@pytest.fixture(scope="module")
def server(objects: tuple[Object, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("pod")
    config = laid_out(objects, folder / "root")
    secret = the_admins_key(objects)
    command, *_ = server_of(objects)["args"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORAPLEX_ADMIN_KEY", secret)
        with serving([command, "--config", str(config), "--host", "127.0.0.1"], folder / "log") as running:
            yield running


def the_admins_key(objects: tuple[Object, ...]) -> str:
    """As the kubelet would look it up."""
    (told,) = (each for each in server_of(objects)["env"] if each["name"] == "LORAPLEX_ADMIN_KEY")
    reference = told["valueFrom"]["secretKeyRef"]
    (secret,) = (each for each in objects if each["kind"] == "Secret" and each["metadata"]["name"] == reference["name"])
    key: str = secret["stringData"][reference["key"]]
    return key


def test_every_probe_succeeds(objects: tuple[Object, ...], server: Server) -> None:
    for kind in ("startup", "liveness", "readiness"):
        path = server_of(objects)[f"{kind}Probe"]["httpGet"]["path"]
        assert server.get(path).status_code == 200


def test_the_test_of_the_release_passes(server: Server) -> None:
    (container,) = the("Pod", rendered("cpu-demo"))["spec"]["containers"]
    assert container["command"] == ["python", "-c"]
    program, url = container["args"]
    assert url == "http://prod-loraplex.models:8000"
    done = subprocess.run([sys.executable, "-c", program, server.url], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == '/ready 200 {"status":"ready"}'
    done = subprocess.run([sys.executable, "-c", program, "http://127.0.0.1:9"], capture_output=True, text=True)
    assert done.returncode != 0


def test_a_tenants_key_opens_what_the_values_say(server: Server) -> None:
    ask = {"model": "reverse", "messages": [{"role": "user", "content": "stone"}], "temperature": 0}
    path, header = "/v1/chat/completions", {"Authorization": f"Bearer {SECRET}"}
    assert server.post(path, ask).status_code == 401
    answer = server.post(path, ask, headers=header)
    assert answer.json()["choices"][0]["message"]["content"] == "enots"
    assert server.post(path, {**ask, "model": "upper"}, headers=header).status_code == 404


def test_the_autoscalers_queries_find_the_release_and_no_other(
    objects: tuple[Object, ...], server: Server, tmp_path: Path
) -> None:
    """A real Prometheus, with the labels that the operator would make of the monitor, reads the server."""
    (endpoint,) = the("ServiceMonitor", objects)["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"]["key"] == "admin-key"
    labels = {"namespace": "models", "job": endpoint["relabelings"][0]["replacement"]}
    pod = workload(objects)["spec"]["template"]["metadata"]["labels"]
    for name in the("ServiceMonitor", objects)["spec"]["podTargetLabels"]:
        labels[re.sub(r"[^a-zA-Z0-9_]", "_", name)] = pod[name]
    scrape = {
        "job_name": "operator",
        "metrics_path": endpoint["path"],
        "scheme": endpoint["scheme"],
        "authorization": {"credentials": the_admins_key(objects)},
        "static_configs": [{"targets": [server.url.removeprefix("http://")], "labels": labels}],
    }
    triggers = the("ScaledObject", objects)["spec"]["triggers"]
    with scraping(tmp_path / "prometheus", {"scrape_configs": [scrape]}, "groups: []") as prometheus:
        prometheus.wait('up{job="prod-loraplex"} == 1')
        found = {each["name"]: prometheus.value(each["metadata"]["query"]) for each in triggers}
        assert found == {"waiting": 0, "in-flight": 0, "wake": 1}
        for each in triggers[:2]:
            elsewhere = each["metadata"]["query"].replace('"prod"', '"canary"')
            assert prometheus.query(elsewhere) == []


def test_the_scaled_object_says_when_to_wake(objects: tuple[Object, ...]) -> None:
    spec = the("ScaledObject", objects)["spec"]
    assert spec["minReplicaCount"] == 0
    triggers = {each["name"]: each["metadata"] for each in spec["triggers"]}
    assert triggers["wake"]["query"] == f"clamp_max({VALUES['autoscaling']['keda']['wakeQuery']}, 1)"
    assert {each["activationThreshold"] for each in triggers.values()} == {"0"}
    assert {name: each["threshold"] for name, each in triggers.items()} == {
        "waiting": "5",
        "in-flight": "24",
        "wake": "1",
    }

"""The configs for Ray Serve and for KubeRay that are shipped: Ray's own schema takes them, and they fit each other."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray import serve
from ray.serve.schema import ServeDeploySchema
from support.charts import Object
from support.installed import program
from support.kubernetes_schemas import complaints
from support.servers import DEMO, ROOT

from loraplex_server.ray import app

FOLDER = ROOT / "deploy" / "ray"
KUBERNETES = "1.36.0"


def load(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def deployments(app: serve.Application) -> dict[str, serve.Deployment]:
    """Of an application: the ingress, and those that it is bound to."""
    ingress = app._bound_deployment
    bound = [each._bound_deployment for each in ingress.init_args if isinstance(each, serve.Application)]
    return {each.name: each for each in (ingress, *bound)}


def build_with_the_demo(application: dict[str, Any], tmp_path: Path) -> dict[str, serve.Deployment]:
    """What its args build, where the folders that they name are the demo's."""
    folders = {"model": str(DEMO / "base"), "adapters": str(DEMO / "adapters")}
    args = application["args"]
    return deployments(app(args if args.get("demo") else args | folders))


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LORAPLEX_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("name", ["demo.yaml", "serve.yaml"])
def test_ray_takes_the_config_and_it_overrides_deployments_that_there_are(name: str, tmp_path: Path) -> None:
    read = load(name)
    schema = ServeDeploySchema.model_validate(read)
    (application,) = schema.applications
    built = build_with_the_demo(read["applications"][0], tmp_path)
    assert set(built) == {"Engine", "Ingress"}
    for override in application.deployments:
        told = override.model_dump(exclude_unset=True)
        changed = built[override.name].options(**told)  # raises where two of them contradict each other
        assert changed.name == override.name


def test_autoscaling_is_on_requests_in_flight_and_leaves_seats_free() -> None:
    (application,) = ServeDeploySchema.model_validate(load("serve.yaml")).applications
    engine = next(each for each in application.deployments if each.name == "Engine")
    scaling = engine.autoscaling_config
    assert scaling["min_replicas"] < scaling["max_replicas"]
    assert scaling["target_ongoing_requests"] < application.args["max_num_seqs"]


@pytest.fixture(scope="module")
def service() -> Object:
    return load("rayservice.yaml")


def test_the_service_runs_the_same_application(service: Object) -> None:
    assert yaml.safe_load(service["spec"]["serveConfigV2"])["applications"] == load("serve.yaml")["applications"]


def test_kuberay_and_kubernetes_take_the_manifest(service: Object) -> None:
    cluster = service["spec"]["rayClusterConfig"]
    templates = [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", **each["metadata"]}, "spec": each["spec"]}
        for each in templates
    ]
    assert complaints([service, *pods], KUBERNETES) == []


def test_a_misspelt_field_would_be_seen(service: Object) -> None:
    spec = service["spec"]
    assert complaints([{**service, "spec": {**spec, "serveConfig": ""}}], KUBERNETES) != []


def test_what_the_replicas_book_fits_into_the_workers(service: Object, tmp_path: Path) -> None:
    application = load("serve.yaml")["applications"][0]
    built = build_with_the_demo(application, tmp_path)
    override = {each["name"]: each for each in application["deployments"]}
    (workers,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    engine, ingress = (built[name].ray_actor_options for name in ("Engine", "Ingress"))
    assert int(limits["nvidia.com/gpu"]) == engine["num_gpus"]
    most = override["Engine"]["autoscaling_config"]["max_replicas"]
    assert workers["maxReplicas"] >= most
    asked = most * engine["num_cpus"] + override["Ingress"]["num_replicas"] * ingress.get("num_cpus", 1)
    assert workers["maxReplicas"] * int(limits["cpu"]) >= asked


def test_the_versions_are_those_that_the_tests_run(service: Object) -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert service["spec"]["rayClusterConfig"]["rayVersion"] == pins["ray"]


def test_requests_in_flight_outlast_the_end_of_a_pod(service: Object, tmp_path: Path) -> None:
    engine = build_with_the_demo(load("serve.yaml")["applications"][0], tmp_path)["Engine"]
    (workers,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    wait = workers["template"]["spec"]["terminationGracePeriodSeconds"]
    assert wait > engine._deployment_config.graceful_shutdown_timeout_s


def test_prometheus_takes_the_scrape_config() -> None:
    done = subprocess.run(
        [program("promtool"), "check", "config", FOLDER / "prometheus.yaml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr

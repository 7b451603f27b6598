"""Parts of one release fit each other: names, labels, ports, paths, times, numbers of replicas."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from support.charts import (
    CHART,
    VALUES,
    Object,
    all_of,
    labels_of,
    pod_of,
    render,
    rendered,
    server_of,
    settings_text,
    the,
    workload,
)
from support.servers import ROOT

from loraplex_server.api.routes.operations import router

EVERY = pytest.mark.parametrize("name", VALUES)


@EVERY
def test_selectors_choose_the_servers_and_no_other_pod(name: str) -> None:
    objects = rendered(name)
    server, test = workload(objects)["spec"]["template"], the("Pod", objects)
    spec = workload(objects)["spec"]
    selectors = [spec["selector"]["matchLabels"]]
    selectors += [each["spec"]["selector"] for each in all_of("Service", objects)]
    for kind in ("PodDisruptionBudget", "InferencePool", "PodMonitor"):
        selectors += [each["spec"]["selector"]["matchLabels"] for each in all_of(kind, objects)]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in all_of("NetworkPolicy", objects)]
    selectors += [each["labelSelector"]["matchLabels"] for each in pod_of(objects)["topologySpreadConstraints"]]
    assert len(selectors) >= 5
    for selector in selectors:
        assert selector.items() <= labels_of(server).items()
        assert not selector.items() <= labels_of(test).items()
        assert selector["app.kubernetes.io/instance"] == "prod"


@EVERY
def test_ports_agree(name: str) -> None:
    objects = rendered(name)
    (port,) = server_of(objects)["ports"]
    assert port["name"] == "http"
    assert port["containerPort"] == yaml.safe_load(settings_text(objects))["port"]
    for service in all_of("Service", objects):
        assert [each["targetPort"] for each in service["spec"]["ports"]] == ["http"]
    for pool in all_of("InferencePool", objects):
        assert pool["spec"]["targetPorts"] == [{"number": port["containerPort"]}]
    for kind, field in (("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")):
        for monitor in all_of(kind, objects):
            assert [each["port"] for each in monitor["spec"][field]] == ["http"]


@EVERY
def test_probes_ask_for_paths_that_the_server_has(name: str) -> None:
    paths = {route.path for route in router.routes}
    container = server_of(rendered(name))
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {kind: each["path"] for kind, each in asked.items()} == {
        "startup": "/health",
        "liveness": "/health",
        "readiness": "/ready",
    }
    assert {each["path"] for each in asked.values()} <= paths
    secure = "ssl-certfile" in yaml.safe_load(settings_text(rendered(name)))
    assert {each["scheme"] for each in asked.values()} == {"HTTPS" if secure else "HTTP"}


@EVERY
def test_the_grace_period_covers_the_drain(name: str) -> None:
    objects = rendered(name)
    settings = yaml.safe_load(settings_text(objects))
    told = settings["shutdown-delay"] + settings["shutdown-timeout"]
    pause = server_of(objects)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod_of(objects)["terminationGracePeriodSeconds"] >= told + pause + 5


def test_a_fraction_of_a_second_is_not_lost_from_the_grace_period() -> None:
    objects = render({"demo": True, "shutdown": {"timeoutSeconds": 0.5, "delaySeconds": 0.5, "preStopSeconds": 0}})
    assert pod_of(objects)["terminationGracePeriodSeconds"] == 17
    assert "lifecycle" not in server_of(objects)


@EVERY
def test_every_mount_has_its_volume_and_every_volume_its_claim(name: str) -> None:
    objects = rendered(name)
    spec = workload(objects)["spec"]
    templates = {each["metadata"]["name"] for each in spec.get("volumeClaimTemplates", [])}
    volumes = {each["name"] for each in pod_of(objects)["volumes"]}
    mounts = [each["name"] for each in server_of(objects)["volumeMounts"]]
    assert not volumes & templates
    assert sorted(mounts) == sorted(volumes | templates)
    claims = {each["metadata"]["name"] for each in all_of("PersistentVolumeClaim", objects)}
    values = yaml.safe_load(VALUES[name].read_text(encoding="utf-8")).get("storage", {})
    given = {each.get("name") for each in values.values() if isinstance(each, dict)}
    for volume in pod_of(objects)["volumes"]:
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in claims | given


@EVERY
def test_who_scales_says_how_many(name: str) -> None:
    objects = rendered(name)
    scalers = all_of("ScaledObject", objects) + all_of("HorizontalPodAutoscaler", objects)
    assert ("replicas" in workload(objects)["spec"]) == (not scalers)
    for scaler in scalers:
        target = scaler["spec"]["scaleTargetRef"]
        assert target["kind"] == workload(objects)["kind"]
        assert target["name"] == workload(objects)["metadata"]["name"]


@EVERY
def test_an_eviction_is_always_possible(name: str) -> None:
    objects = rendered(name)
    budget = the("PodDisruptionBudget", objects)["spec"]
    values = yaml.safe_load(VALUES[name].read_text(encoding="utf-8"))
    least = values.get("autoscaling", {}).get("minReplicas", values.get("replicas", 1))
    assert budget.get("minAvailable", 0) < max(least, 1)
    assert budget.get("maxUnavailable", 1) >= 1


@EVERY
def test_pods_pass_the_restricted_profile_of_pod_security(name: str) -> None:
    objects = rendered(name)
    for pod in (pod_of(objects), the("Pod", objects)["spec"]):
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        allowed = {"name", "configMap", "emptyDir", "secret", "persistentVolumeClaim", "image"}
        assert all(set(volume) <= allowed for volume in pod.get("volumes", []))
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "privileged" not in context
            assert not [port for port in container.get("ports", []) if "hostPort" in port]


@EVERY
def test_whatever_the_server_writes_is_writable(name: str) -> None:
    objects = rendered(name)
    writable = {each["mountPath"] for each in server_of(objects)["volumeMounts"] if not each.get("readOnly")}
    assert writable == {"/tmp", "/dev/shm", "/state", "/cache"}
    told = [str(each) for each in yaml.safe_load(settings_text(objects)).values()]
    told += [each.get("value", "") for each in server_of(objects)["env"]]
    written = [each for each in told if re.match(r"/(?!models|adapters|etc)", each)]
    assert len(written) >= 7
    assert all(any(each == folder or each.startswith(folder + "/") for folder in writable) for each in written)


def test_a_gpu_is_asked_for_limited_and_tolerated() -> None:
    values = {"model": "org/name", "gpu": {"enabled": True}, "tensorParallelSize": 4}
    objects = render(values)
    resources = server_of(objects)["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "4"
    assert pod_of(objects)["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    ]
    assert yaml.safe_load(settings_text(objects))["tensor-parallel-size"] == 4
    assert "nvidia.com/gpu" not in server_of(rendered("cpu-demo"))["resources"]["limits"]


def test_one_claim_for_all_is_allowed_where_one_pod_runs_at_a_time() -> None:
    claim = {"type": "claim", "size": "1Gi", "accessModes": ["ReadWriteOnce"]}
    one_by_one = {"updateStrategy": {"type": "Recreate"}, "storage": {"cache": claim}}
    alone = {"kind": "StatefulSet", "model": "/models/m", "storage": {"models": claim}}
    assert all_of("PersistentVolumeClaim", render({"demo": True, **one_by_one}))
    assert all_of("PersistentVolumeClaim", render(alone))


def test_names_are_short_enough_for_what_is_hung_on() -> None:
    objects = render({"demo": True, "kind": "StatefulSet", "fullnameOverride": "a" * 80})
    assert max(len(item["metadata"]["name"]) for item in objects) <= 63
    assert len(workload(objects)["metadata"]["name"]) <= 63 - len("-7f9c8b6d5f")  # of a revision, as a label


def test_the_schema_knows_every_value_and_every_value_has_a_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert set(schema["properties"]) - {"global"} == set(values)

    def compare(shape: Object, given: object, path: str) -> None:
        shape = schema["definitions"][shape["$ref"].rpartition("/")[2]] if "$ref" in shape else shape
        if isinstance(given, dict) and given and "properties" in shape:
            assert shape["additionalProperties"] is False, path
            assert set(given) <= set(shape["properties"]), path
            for name, value in given.items():
                compare(shape["properties"][name], value, f"{path}.{name}")

    compare(schema, values, "values")


def test_versions_agree() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "([^"]+)"', text, re.MULTILINE)
    assert version is not None
    assert chart["appVersion"] == version[1]
    assert Path(CHART.name).name == chart["name"]

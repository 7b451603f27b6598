"""Every values file of the chart: helm takes it without a word, and Kubernetes and its operators what comes out."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from support.charts import CHART, VALUES, Object, RefusedError, helm, objects_of, render, rendered, the
from support.kubernetes_schemas import complaints, extension_complaints, native_complaints, operator_complaints

VERSIONS = ("1.31.0", "1.34.0", "1.37.0")
OLDEST = "1.30.0"  # of Chart.yaml's kubeVersion


@pytest.mark.parametrize("name", VALUES)
def test_helm_lints_without_a_warning(name: str) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, "-f", VALUES[name])


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_of_every_values_file_is_valid(version: str) -> None:
    everything = [item for name in VALUES for item in rendered(name)]
    assert len({item["kind"] for item in everything}) >= 18
    assert complaints(everything, version) == []


def test_the_oldest_kubernetes_takes_all_but_image_volumes() -> None:
    for name in VALUES:
        found = native_complaints([item for item in rendered(name) if item["apiVersion"] == "apps/v1"], OLDEST)
        images = [each for each in found if "'image' was unexpected" in each]
        assert found == images


def test_values_of_a_claim_for_all_and_of_a_state_for_each_are_valid() -> None:
    claims = {"type": "claim", "size": "10Gi"}
    values = {
        "kind": "StatefulSet",
        "model": "/models/m",
        "storage": {"models": claims, "adapters": claims, "state": claims, "cache": claims},
        "ingress": {"enabled": True},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}]},
        "autoscaling": {"type": "hpa", "hpa": {"metricType": "External"}},
        "huggingFace": {"value": "hf_x"},
        "auth": {"apiKey": {"value": "a,b"}, "adminKey": {"value": "c"}},
        "podDisruptionBudget": {"amount": "50%"},
        "topologySpread": {"topologyKeys": []},
        "networkPolicy": {"enabled": True, "ingress": {"sameNamespace": False}},
        "service": {"type": "LoadBalancer", "port": 80},
    }
    objects = render(values)
    assert complaints(objects, VERSIONS[-1]) == []
    assert {item["metadata"]["name"] for item in objects if item["kind"] == "PersistentVolumeClaim"} == {
        "prod-loraplex-models",
        "prod-loraplex-adapters",
    }
    templates = the("StatefulSet", objects)["spec"]["volumeClaimTemplates"]
    assert [each["metadata"]["name"] for each in templates] == ["state", "cache"]


def _with(item: Object, *path: str, value: object) -> Object:
    """A copy with one field more."""
    if not path:
        return value
    return {**item, path[0]: _with(item.get(path[0], {}), *path[1:], value=value)}


def test_the_judges_see_a_slip() -> None:
    deployment = the("Deployment", rendered("gateway-inference"))
    assert native_complaints([_with(deployment, "spec", "replica", value=1)], VERSIONS[-1])
    scaled = the("ScaledObject", rendered("autoscaled-keda-scale-to-zero"))
    assert operator_complaints([_with(scaled, "spec", "minReplicasCount", value=1)])
    assert operator_complaints([_with(scaled, "spec", "pollingInterval", value="15s")])
    pool = the("InferencePool", rendered("gateway-inference"))
    assert extension_complaints(_with(pool, "spec", "targetPortNumber", value=8000))


def test_notes_say_how_to_ask_and_what_is_open() -> None:
    told = helm("install", "prod", CHART, "--dry-run=client", "-n", "models", "-f", VALUES["cpu-demo"])
    notes = told.partition("NOTES:\n")[2]
    assert "port-forward service/prod-loraplex 8000:8000" in notes
    assert "WARNING: there are no keys" in notes
    told = helm("install", "prod", CHART, "--dry-run=client", "-n", "models", "-f", VALUES["gpu-many-tenants"])
    notes = told.partition("NOTES:\n")[2]
    assert "no keys" not in notes
    assert "each replica has a state of its own" in notes
    assert 'curl -k https://127.0.0.1:8000/v1/models -H "Authorization: Bearer $KEY"' in notes


def test_a_packed_chart_has_all_its_files(tmp_path: Path) -> None:
    helm("package", CHART, "--destination", tmp_path)
    (archive,) = tmp_path.glob("*.tgz")
    packed = helm("template", "prod", archive, "--namespace", "models", "-f", VALUES["gpu-single"])
    assert objects_of(packed) == rendered("gpu-single")
    with tarfile.open(archive) as names:
        assert not [name for name in names.getnames() if "/ci/" in name]


def test_a_chart_without_a_model_is_refused() -> None:
    with pytest.raises(RefusedError, match="model is missing: a hub id, or a folder such as /models/NAME; or set demo"):
        render({})

"""The kustomize base is what helm renders, and its overlays build objects that Kubernetes takes."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml
from support.charts import CHART, VALUES, Object, helm, kustomized, objects_of, pod_of, render, server_of, the
from support.kubernetes_schemas import complaints
from support.servers import ROOT

HELM_LABELS = ("helm.sh/chart", "app.kubernetes.io/managed-by")


def comparable(objects: tuple[Object, ...]) -> dict[tuple[str, str], Any]:
    """Without what helm says of itself, and what kustomize adds to the name of a ConfigMap."""
    found = {}
    for item in copy.deepcopy(objects):
        metadata = item["metadata"]
        metadata.pop("namespace", None)
        for label in HELM_LABELS:
            metadata.get("labels", {}).pop(label, None)
        if item["kind"] == "Deployment":
            item["spec"]["template"]["metadata"].pop("annotations", None)
        if item["kind"] == "ConfigMap":
            metadata.pop("labels", None)
            item["data"] = {name: yaml.safe_load(text) for name, text in item["data"].items()}
        text = re.sub(r"loraplex-[0-9a-z]{10}\b", "loraplex", json.dumps(item, sort_keys=True))
        plain = json.loads(text)
        found[plain["kind"], plain["metadata"]["name"]] = plain
    return found


def test_the_base_is_what_helm_renders() -> None:
    rendered = objects_of(helm("template", "loraplex", CHART, "--no-hooks", "-f", VALUES["cpu-demo"]))
    assert len(rendered) == 5
    assert comparable(kustomized("base")) == comparable(rendered)


def test_the_gpu_overlay_is_what_helm_renders_of_the_same_values() -> None:
    values = {
        "model": "Qwen/Qwen2.5-7B-Instruct",
        "gpu": {"enabled": True},
        "settings": {"max-num-seqs": 64},
        "updateStrategy": {"type": "Recreate"},
        "resources": {"requests": {"cpu": "4", "memory": "24Gi"}, "limits": {"memory": "24Gi"}},
        "auth": {"apiKey": {"existingSecret": "loraplex-keys"}},
        "storage": {"adapters": {"type": "existingClaim", "name": "adapters"}},
        "fullnameOverride": "loraplex",
    }
    theirs = tuple(item for item in render(values) if item["kind"] != "Pod")
    text = json.dumps(theirs).replace('/instance": "prod"', '/instance": "loraplex"')
    built, expected = comparable(kustomized("overlays/gpu")), comparable(tuple(json.loads(text)))
    for objects in (built, expected):
        container = server_of(tuple(objects.values()))
        for part in ("env", "volumeMounts"):
            container[part].sort(key=lambda each: each["name"])
        pod_of(tuple(objects.values()))["volumes"].sort(key=lambda each: each["name"])
    assert built == expected


def test_the_monitored_overlay_is_what_helm_renders() -> None:
    switches = ("--set=metrics.monitor.enabled=true", "--set=metrics.rules.enabled=true")
    rendered = objects_of(helm("template", "loraplex", CHART, "--no-hooks", "-f", VALUES["cpu-demo"], *switches))
    assert len(rendered) == 7
    assert comparable(kustomized("overlays/monitoring")) == comparable(rendered)


@pytest.mark.parametrize("name", ["base", "overlays/gpu", "overlays/monitoring"])
def test_what_is_built_is_valid(name: str) -> None:
    assert complaints(kustomized(name), "1.37.0") == []


def test_a_change_of_the_settings_rolls_the_pods() -> None:
    """The ConfigMap's name ends in a hash of its content, and the pod names it so."""
    config = the("ConfigMap", kustomized("base"))["metadata"]["name"]
    assert re.fullmatch(r"loraplex-[0-9a-z]{10}", config)
    (volume,) = (each for each in pod_of(kustomized("base"))["volumes"] if each["name"] == "settings")
    assert volume["configMap"]["name"] == config
    assert the("ConfigMap", kustomized("overlays/gpu"))["metadata"]["name"] != config


def test_all_that_is_made_from_something_else_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / "chart.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

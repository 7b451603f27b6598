"""The chart as helm renders it, and the kustomize folders as kubectl builds them."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from support.installed import folder_of
from support.servers import ROOT

CHART = ROOT / "deploy" / "helm" / "loraplex"
KUSTOMIZE = ROOT / "deploy" / "kustomize"
VALUES = {path.stem: path for path in sorted((CHART / "ci").glob("*.yaml"))}
RELEASE, NAMESPACE = "prod", "models"

Object = dict[str, Any]


class RefusedError(Exception):
    """What helm said instead of rendering."""


def helm(*arguments: str | Path) -> str:
    """What helm prints.

    Raises:
        RefusedError: it ended with an error, or warned.
    """
    program = folder_of("helm") / "helm" / "helm"
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode or done.stderr:
        raise RefusedError(done.stderr + done.stdout)
    return done.stdout


def values_file(values: object) -> str:
    """A file with these values, for as long as tests run."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as file:
        json.dump(values, file)
    return file.name


@functools.cache
def rendered(name: str) -> tuple[Object, ...]:
    """Objects of a release with the chart's values file of this name; the test's pod is among them."""
    return objects_of(template("-f", VALUES[name]))


def template(*arguments: str | Path) -> str:
    """All objects, as text."""
    return helm("template", RELEASE, CHART, "--namespace", NAMESPACE, *arguments)


def render(values: object) -> tuple[Object, ...]:
    """Objects of a release with these values.

    Raises:
        RefusedError: helm refuses them.
    """
    return objects_of(template("-f", values_file(values)))


@functools.cache
def kustomized(name: str) -> tuple[Object, ...]:
    """Objects of a folder of deploy/kustomize."""
    program = folder_of("helm") / "kubectl" / "kubectl"
    done = subprocess.run([program, "kustomize", KUSTOMIZE / name], capture_output=True, text=True, check=True)
    assert not done.stderr, done.stderr
    return objects_of(done.stdout)


def objects_of(text: str) -> tuple[Object, ...]:
    return tuple(item for item in yaml.safe_load_all(text) if item)


def the(kind: str, objects: tuple[Object, ...]) -> Object:
    """The only one of a kind."""
    (item,) = (item for item in objects if item["kind"] == kind)
    return item


def all_of(kind: str, objects: tuple[Object, ...]) -> list[Object]:
    return [item for item in objects if item["kind"] == kind]


def labels_of(item: Object) -> dict[str, str]:
    labels: dict[str, str] = item["metadata"]["labels"]
    return labels


def workload(objects: tuple[Object, ...]) -> Object:
    """The Deployment or StatefulSet."""
    (item,) = all_of("Deployment", objects) + all_of("StatefulSet", objects)
    return item


def pod_of(objects: tuple[Object, ...]) -> Object:
    """The pod's spec."""
    spec: Object = workload(objects)["spec"]["template"]["spec"]
    return spec


def server_of(objects: tuple[Object, ...]) -> Object:
    """The server's container."""
    (container,) = (each for each in pod_of(objects)["containers"] if each["name"] == "server")
    return container


def settings_text(objects: tuple[Object, ...]) -> str:
    """The settings file that the pod mounts."""
    maps = {item["metadata"]["name"]: item for item in all_of("ConfigMap", objects)}
    (volume,) = (each for each in pod_of(objects)["volumes"] if each["name"] == "settings")
    text: str = maps[volume["configMap"]["name"]]["data"]["loraplex.yaml"]
    return text

"""The chart's pods and the image agree: who runs, what may be written, where caches lie, which port is open."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from support.charts import CHART, VALUES, pod_of, rendered, server_of
from support.servers import ROOT

LINES = [line for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines() if line.lstrip()[:1] != "#"]
DOCKERFILE = "\n".join(LINES).replace("\\\n", " ")
RUNTIME = DOCKERFILE.rpartition("\nFROM ")[2]


def instructions(name: str) -> list[str]:
    """Arguments of those of the last stage."""
    return re.findall(rf"^{name} +(.*)$", RUNTIME, re.MULTILINE)


@pytest.mark.parametrize("name", VALUES)
def test_variables_are_the_images_own(name: str) -> None:
    of_image = dict(re.findall(r"(\w+)=(\S+)", " ".join(instructions("ENV"))))
    of_chart = {each["name"]: each["value"] for each in server_of(rendered(name))["env"] if "value" in each}
    caches = {variable: value for variable, value in of_chart.items() if not variable.startswith("OTEL_")}
    assert caches
    assert caches.items() <= of_image.items()


def test_pods_run_as_the_images_user() -> None:
    context = pod_of(rendered("cpu-demo"))["securityContext"]
    assert instructions("USER") == [f"{context['runAsUser']}:{context['runAsGroup']}"]


def test_the_port_is_the_one_that_the_image_exposes() -> None:
    (port,) = server_of(rendered("cpu-demo"))["ports"]
    assert instructions("EXPOSE") == [str(port["containerPort"])]


def test_what_is_stored_is_mounted_over_the_images_own_folders() -> None:
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    parts = [part for part in values["storage"] if part not in ("sharedMemory", "tmp")]
    assert sorted(parts) == ["adapters", "cache", "models", "state"]
    made = " ".join(instructions("RUN"))
    for part in parts:
        assert re.search(rf"install -d[^&]* /{part}\b", made), part


def test_the_command_is_the_images_entry_point() -> None:
    assert instructions("ENTRYPOINT") == ['["loraplex"]']
    assert "command" not in server_of(rendered("cpu-demo"))

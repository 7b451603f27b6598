"""docs/kubernetes.md: every block of YAML is what its reader would have helm, a picker or an adapter read."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.charts import CHART, VALUES, Object, helm, objects_of, pod_of, render, server_of, the, workload
from support.installed import program
from support.kubernetes_schemas import complaints, extension_complaints, native_complaints
from support.servers import ROOT

PAGE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
BLOCKS: list[dict[str, Any]] = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
VERSION = "1.37.0"


def is_values(block: dict[str, Any]) -> bool:
    """Of our chart: what is neither an object nor values of another's."""
    return not {"apiVersion", "router", "rules"} & set(block)


def block_with(key: str) -> dict[str, Any]:
    (found,) = (block for block in BLOCKS if key in block)
    return found


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    """As helm takes several files of values."""
    whole: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            old = whole.get(name)
            whole[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return whole


def test_every_block_is_looked_at_by_a_test() -> None:
    assert len(BLOCKS) == 6
    assert sum(is_values(block) for block in BLOCKS) == 3
    for key in ("router", "rules", "apiVersion"):
        assert block_with(key)


@pytest.mark.parametrize("block", [block for block in BLOCKS if is_values(block)], ids=lambda block: ",".join(block))
def test_values_render_to_valid_objects(block: dict[str, Any]) -> None:
    assert complaints(render(merged({"model": "org/name"}, block)), VERSION) == []


def test_values_that_follow_each_other_fit_together() -> None:
    values = merged(*(block for block in BLOCKS if is_values(block)))
    objects = render(values)
    kinds = {item["kind"] for item in objects}
    assert {"HTTPRoute", "InferenceObjective", "InferenceModelRewrite", "ScaledObject"} <= kinds
    assert "InferencePool" not in kinds
    assert complaints(objects, VERSION) == []


def test_the_routers_values_choose_our_pods_and_our_pool_is_theirs() -> None:
    router = block_with("router")["router"]
    text = helm("template", "llm", CHART, "-n", "models", "-f", VALUES["cpu-demo"])
    labels = workload(objects_of(text))["spec"]["template"]["metadata"]["labels"]
    assert router["modelServers"]["matchLabels"].items() <= labels.items()
    (release,) = re.findall(r"helm install (\S+) llm-d-router-gateway", PAGE)
    assert block_with("inferencePool")["inferencePool"]["name"] == release
    assert f'inference_pool="{release}"' in block_with("autoscaling")["autoscaling"]["keda"]["wakeQuery"]


def test_the_pickers_configuration_is_one() -> None:
    epp = block_with("router")["router"]["epp"]
    config: Object = yaml.safe_load(epp["pluginsCustomConfig"][epp["pluginsConfigFile"]])
    assert extension_complaints(config) == []
    declared = [plugin["type"] for plugin in config["plugins"]]
    (profile,) = config["schedulingProfiles"]
    weights = {plugin["pluginRef"]: plugin["weight"] for plugin in profile["plugins"]}
    assert sorted(weights) == sorted(declared)
    assert max(weights, key=lambda name: weights[name]) == "lora-affinity-scorer"


def test_the_adapters_rules_give_the_hpa_its_metrics(tmp_path: Path) -> None:
    custom = block_with("rules")["rules"]["custom"]
    objects = render({"demo": True, "autoscaling": {"type": "hpa"}})
    metrics = the("HorizontalPodAutoscaler", objects)["spec"]["metrics"]
    assert [each["pods"]["metric"]["name"] for each in metrics] == [rule["name"]["as"] for rule in custom]
    # promtool parses the queries as rules, with what the adapter fills in.
    filled = {"<<.LabelMatchers>>": 'namespace="models",pod=~"a|b"', "<<.GroupBy>>": "pod"}
    rules = []
    for number, rule in enumerate(custom):
        query = rule["metricsQuery"]
        for hole, value in filled.items():
            query = query.replace(hole, value)
        assert "<<" not in query
        rules += [
            {"record": f"query:{number}", "expr": query},
            {"record": f"series:{number}", "expr": rule["seriesQuery"]},
        ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "adapter", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run([program("promtool"), "check", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_kserve_would_take_the_service() -> None:
    service = block_with("apiVersion")
    assert extension_complaints(service) == []
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "main"}, "spec": service["spec"]["template"]}
    assert native_complaints([pod], VERSION) == []
    (container,) = service["spec"]["template"]["containers"]
    assert container["image"] == server_of(render({"demo": True}))["image"]


def test_what_the_page_says_of_the_chart_is_so() -> None:
    assert "Kubernetes 1.30 or later" in PAGE
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"] == ">=1.30.0-0"
    objects = render({"demo": True})
    startup = server_of(objects)["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 15 * 60
    liveness = server_of(objects)["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] == 5 * 60
    assert pod_of(objects)["terminationGracePeriodSeconds"] == 5 + 5 + 60 + 15
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    for path in re.findall(
        r"`((?:storage|shutdown|probes|auth|inferencePool|image|autoscaling)\.[A-Za-z.]+)(?::[^`]*)?`", PAGE
    ):
        where: Any = values
        for name in path.split("."):
            assert name in where, path
            where = where[name]

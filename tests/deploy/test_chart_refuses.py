"""Values that are wrong, or that contradict each other, are refused with their name and a reason."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.charts import CHART, RefusedError, render
from support.servers import ROOT

DEMO = {"demo": True}
CLAIM = {"type": "claim", "size": "1Gi"}
KEDA = {"type": "keda", "keda": {"serverAddress": "http://prometheus:9090"}}

# What the schema sees: the place of the value, and what would have been right.
MISSHAPED: list[tuple[dict[str, Any], str]] = [
    ({"replcas": 2}, "additional properties 'replcas' not allowed"),
    ({"replicas": -1}, "at '/replicas': minimum: got -1, want 0"),
    ({"settings": {"max-num-seq": 4}}, "at '/settings': additional properties 'max-num-seq' not allowed"),
    ({"settings": {"max-num-seqs": 0}}, "at '/settings/max-num-seqs': exclusiveMinimum: got 0, want 0"),
    ({"settings": {"kv-cache-memory": "2 gigs"}}, "at '/settings/kv-cache-memory': '2 gigs' does not match pattern"),
    ({"settings": {"quantization": "int3"}}, "at '/settings/quantization': value must be one of 'auto'"),
    ({"settings": {"port": 80}}, "at '/settings': additional properties 'port' not allowed"),
    ({"storage": {"cache": {"size": "40 GB"}}}, "at '/storage/cache/size': '40 GB' does not match pattern"),
    ({"storage": {"models": {"type": "hostPath"}}}, "at '/storage/models/type': value must be one of 'none', 'claim'"),
    ({"storage": {"state": {"type": "image"}}}, "at '/storage/state/type': value must be one of 'emptyDir'"),
    ({"resources": {"limits": {"memory": "8 GiB"}}}, "at '/resources/limits/memory'"),
    ({"kind": "DaemonSet"}, "at '/kind': value must be one of 'Deployment', 'StatefulSet'"),
    ({"image": {"digest": "latest"}}, "at '/image/digest': 'latest' does not match pattern"),
    ({"autoscaling": {"type": "vpa"}}, "at '/autoscaling/type': value must be one of 'none', 'keda', 'hpa'"),
    ({"autoscaling": {"maxReplicas": 0}}, "at '/autoscaling/maxReplicas': minimum: got 0, want 1"),
    ({"tracing": {"endpoint": "collector:4318"}}, "at '/tracing/endpoint': 'collector:4318' does not match pattern"),
    ({"auth": {"apiKey": "secret"}}, "at '/auth/apiKey': got string, want object"),
    ({"tenants": {"keys": [{"id": "a", "tenant": "b"}]}}, "at '/tenants/keys/0': missing property 'hash'"),
    ({"shutdown": {"marginSeconds": 0}}, "at '/shutdown/marginSeconds': minimum: got 0, want 5"),
    ({"inferencePool": {"endpointPicker": {"failureMode": "Open"}}}, "value must be one of 'FailOpen', 'FailClose'"),
    ({"podDisruptionBudget": {"amount": "101%"}}, "at '/podDisruptionBudget/amount'"),
    ({"metrics": {"monitor": {"interval": "15 s"}}}, "at '/metrics/monitor/interval': '15 s' does not match pattern"),
]

CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"model": "org/name"}, "demo and model: the demo brings a model of its own"),
    ({"storage": {"adapters": CLAIM}}, "the demo brings adapters of its own"),
    ({"demo": False, "model": "/models/m"}, "storage.models.type is none: nothing is mounted there"),
    ({"tensorParallelSize": 2}, "gpu.enabled is false: it is the number of GPUs that share one model"),
    ({"storage": {"cache": {"type": "existingClaim"}}}, "storage.cache.name is missing"),
    ({"kind": "StatefulSet", "storage": {"state": {"type": "claim", "size": ""}}}, "storage.state.size is missing"),
    (
        {"demo": False, "model": "/models/m", "storage": {"models": {"type": "image"}}},
        "storage.models.reference is missing",
    ),
    (
        {"storage": {"state": {"name": "s"}}},
        "storage.state.name is a claim that is there, but storage.state.type is empty",
    ),
    (
        {"storage": {"models": {"reference": "r"}}},
        "storage.models.reference is an image, but storage.models.type is none",
    ),
    ({"auth": {"adminKey": {"existingSecret": "s", "value": "v"}}}, "auth.adminKey has both existingSecret and value"),
    ({"huggingFace": {"existingSecret": "s", "value": "v"}}, "huggingFace has both existingSecret and value"),
    (
        {"tenants": {"existingSecret": "s", "keys": [{"id": "a", "hash": "h", "tenant": "t"}]}},
        "tenants has both existingSecret and keys",
    ),
    ({"storage": {"state": {"type": "claim"}}}, "two pods of a rollout would write the same state; set kind: Stateful"),
    (
        {"kind": "StatefulSet", "replicas": 2, "storage": {"state": {"type": "existingClaim", "name": "s"}}},
        "set type: claim, so that each has its own",
    ),
    ({"storage": {"cache": {"type": "claim"}}}, "storage.cache is one claim for all pods, but with accessModes"),
    (
        {"kind": "StatefulSet", "replicas": 2, "storage": {"models": {**CLAIM, "accessModes": ["ReadWriteOnce"]}}},
        "storage.models is one claim for all pods, but with accessModes ReadWriteOnce one node can mount it",
    ),
    ({"autoscaling": {**KEDA, "minReplicas": 5}}, "autoscaling.minReplicas is 5, above maxReplicas, which is 4"),
    ({"autoscaling": {"type": "hpa", "minReplicas": 0}}, "which an HPA cannot do: set type: keda, or minReplicas: 1"),
    ({"autoscaling": {"type": "keda"}}, "autoscaling.keda.serverAddress, the URL of Prometheus, is missing"),
    ({"autoscaling": {**KEDA, "minReplicas": 0}}, "nothing would start a replica again"),
    ({"autoscaling": {"keda": {"wakeQuery": "up"}}}, "wakeQuery is set, but autoscaling.type is none"),
    ({"autoscaling": {**KEDA, "inFlightPerReplica": 40}}, "is 40, but a replica has 32 seats"),
    ({"podDisruptionBudget": {"by": "minAvailable"}}, "wants 1 available, but there may be only 1: no node could ever"),
    (
        {"replicas": 3, "podDisruptionBudget": {"by": "minAvailable", "amount": "100%"}},
        "wants 100% available, but there may be only 3",
    ),
    ({"inferencePool": {"enabled": True}}, "inferencePool.endpointPicker.name, the Service of the endpoint picker"),
    ({"inferencePool": {"objectives": [{"name": "a", "priority": 1}]}}, "but inferencePool.enabled is false"),
    (
        {"inferencePool": {"enabled": True, "endpointPicker": {"name": "p"}}, "auth": {"adminKey": {"value": "k"}}},
        "an endpoint picker reads /metrics and sends no key; set metrics.open: true",
    ),
    (
        {"inferencePool": {"enabled": True, "endpointPicker": {"name": "p"}}, "tls": {"existingSecret": "t"}},
        "a gateway speaks plain HTTP to the pods of a pool",
    ),
    ({"inferencePool": {"enabled": True, "create": False}}, "inferencePool.name, the pool that is there, is missing"),
    (
        {"inferencePool": {"enabled": True, "create": False, "name": "p", "endpointPicker": {"name": "e"}}},
        "inferencePool.endpointPicker belongs to a pool of this chart",
    ),
    ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs, the gateway, is missing"),
    (
        {"metrics": {"monitor": {"enabled": True}}, "tenants": {"existingSecret": "t"}},
        "set auth.adminKey or metrics.monitor.keySecret, or metrics.open: true",
    ),
    ({"kind": "StatefulSet", "updateStrategy": {"type": "Recreate"}}, "is Recreate, which a StatefulSet does not have"),
    ({"updateStrategy": {"type": "OnDelete"}}, "updateStrategy.type is OnDelete, which a Deployment does not have"),
    (
        {"demo": False, "model": "/models/m", "storage": {"models": {**CLAIM, "accessModes": ["ReadOnlyMany"]}}},
        "storage.models is a new claim that can only be read, and stays empty",
    ),
    (
        {"ingress": {"enabled": True, "path": "/llm"}},
        "ingress.path is /llm, which is left in front of the server's own",
    ),
    (
        {"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}], "path": "/v11"}},
        "httpRoute.path is /v11, which is left in front of the server's own paths: set settings.root-path to it",
    ),
    (
        {"ingress": {"enabled": True, "path": "/a"}, "settings": {"root-path": "/b"}},
        "ingress.path is /a, which is left",
    ),
    ({"ingress": {"enabled": True, "tlsSecret": "t"}}, "ingress.host is empty: a certificate is for a host"),
]


@pytest.mark.parametrize(("values", "reason"), MISSHAPED, ids=[reason[:50] for _, reason in MISSHAPED])
def test_a_value_of_the_wrong_shape_is_refused_by_its_place(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(RefusedError, match=re.escape(reason)):
        render({**DEMO, **values})


# What looks like a contradiction and is none.
ALLOWED: list[dict[str, Any]] = [
    {"kind": "StatefulSet", "updateStrategy": {"type": "OnDelete"}},
    {"updateStrategy": {"type": "Recreate"}},
    {"ingress": {"enabled": True, "path": "/v1"}},
    {"ingress": {"enabled": True, "path": "/llm"}, "settings": {"root-path": "/llm"}},
    {
        "ingress": {
            "enabled": True,
            "path": "/llm(/|$)(.*)",
            "annotations": {"nginx.ingress.kubernetes.io/rewrite-target": "/$2"},
        }
    },
    {"ingress": {"path": "/llm"}},
    {
        "demo": False,
        "model": "/models/m",
        "storage": {"models": {**CLAIM, "accessModes": ["ReadOnlyMany"], "storageClassName": "filled"}},
    },
]


@pytest.mark.parametrize("values", ALLOWED, ids=[str(values)[:50] for values in ALLOWED])
def test_values_that_fit_each_other_are_not_refused(values: dict[str, Any]) -> None:
    assert render({**DEMO, **values})


def test_every_path_of_the_server_may_be_routed_alone() -> None:
    text = (CHART / "templates" / "_checks.tpl").read_text(encoding="utf-8")
    ((own, _),) = re.findall(r'regexMatch "(\^/[^"]+(v1)[^"]+)"', text)
    paths = re.findall(r"^### `[A-Z]+ (/.*)`$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(paths) > 30
    assert [path for path in paths if not re.search(own, path)] == []


@pytest.mark.parametrize(("values", "reason"), CONTRADICTIONS, ids=[reason[:50] for _, reason in CONTRADICTIONS])
def test_values_that_contradict_each_other_are_refused_with_a_reason(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(RefusedError, match=re.escape(reason)) as refusal:
        render({**DEMO, **values})
    assert "nil pointer" not in str(refusal.value)

"""Who reaches a release, by which way, and where its servers may go."""

from __future__ import annotations

from support.charts import all_of, labels_of, render, rendered, the


def test_the_wake_query_is_about_the_ingress_of_the_release() -> None:
    objects = rendered("autoscaled-keda-scale-to-zero")
    (wake,) = (each for each in the("ScaledObject", objects)["spec"]["triggers"] if each["name"] == "wake")
    ingress = the("Ingress", objects)["metadata"]
    labels = f'exported_namespace="{ingress["namespace"]}",ingress="{ingress["name"]}"'
    query = f"sum(rate(nginx_ingress_controller_requests{{{labels}}}[2m]))"
    assert wake["metadata"]["query"] == f"clamp_max({query}, 1)"


def test_routes_objectives_and_rewrites_lead_to_the_pool() -> None:
    made = rendered("gateway-inference")
    route = {"enabled": True, "parentRefs": [{"name": "gateway"}]}
    theirs = {"enabled": True, "create": False, "name": "router", "objectives": [{"name": "a", "priority": 1}]}
    found = render({"demo": True, "httpRoute": route, "inferencePool": theirs})
    for objects, name in ((made, the("InferencePool", made)["metadata"]["name"]), (found, "router")):
        (rule,) = the("HTTPRoute", objects)["spec"]["rules"]
        assert [(each["kind"], each["name"]) for each in rule["backendRefs"]] == [("InferencePool", name)]
        for kind in ("InferenceObjective", "InferenceModelRewrite"):
            assert {each["spec"]["poolRef"]["name"] for each in all_of(kind, objects)} <= {name}
    assert not all_of("InferencePool", found)
    (rule,) = the("HTTPRoute", render({"demo": True, "httpRoute": route}))["spec"]["rules"]
    assert rule["backendRefs"] == [{"kind": "Service", "name": "prod-loraplex", "port": 8000}]


def egress_ports(name_or_values: str | dict[str, object]) -> set[int]:
    objects = rendered(name_or_values) if isinstance(name_or_values, str) else render(name_or_values)
    policy = the("NetworkPolicy", objects)["spec"]
    return {port["port"] for rule in policy["egress"] for port in rule["ports"]}


def test_nothing_leaves_a_pod_that_looks_nothing_up() -> None:
    closed: dict[str, object] = {"networkPolicy": {"enabled": True}}
    assert egress_ports({**closed, "demo": True}) == set()
    assert egress_ports("autoscaled-keda-scale-to-zero") == set()
    assert egress_ports({**closed, "model": "org/name"}) == {53, 443}
    assert egress_ports({**closed, "demo": True, "settings": {"allow-adapter-source": "/adapters/*"}}) == set()
    assert egress_ports({**closed, "demo": True, "settings": {"allow-adapter-source": "/a/*,org/*"}}) == {53, 443}
    local = [{"name": "a", "path": "/adapters/a"}, "b=/adapters/b"]
    assert egress_ports({**closed, "demo": True, "settings": {"lora-modules": local}}) == set()
    assert egress_ports({**closed, "demo": True, "settings": {"lora-modules": ["c=org/c"]}}) == {53, 443}
    assert egress_ports({**closed, "demo": True, "tracing": {"endpoint": "http://otel.x:4318/v1/traces"}}) == {53, 4318}
    always = {"enabled": True, "egress": {"https": True}}
    assert egress_ports({"demo": True, "networkPolicy": always}) == {53, 443}


def test_the_metadata_of_a_cloud_is_out_of_reach() -> None:
    policy = the("NetworkPolicy", rendered("gpu-many-tenants"))["spec"]
    (https,) = (rule for rule in policy["egress"] if rule["ports"] == [{"port": 443, "protocol": "TCP"}])
    assert [each["ipBlock"]["except"] for each in https["to"]] == [["169.254.0.0/16"], ["fd00:ec2::254/128"]]


def test_only_who_is_named_and_the_test_of_the_release_come_in() -> None:
    objects = rendered("gpu-many-tenants")
    (ingress,) = the("NetworkPolicy", objects)["spec"]["ingress"]
    test, *others = ingress["from"]
    assert test["podSelector"]["matchLabels"].items() <= labels_of(the("Pod", objects)).items()
    assert [each["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for each in others] == [
        "gateway",
        "monitoring",
    ]

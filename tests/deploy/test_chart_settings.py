"""What the chart gives the server is what the server takes: arguments, variables, settings, keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.charts import KUSTOMIZE, VALUES, Object, all_of, kustomized, render, rendered, server_of, settings_text
from support.pods import laid_out, variables
from support.servers import ROOT

from loraplex_server.cli import COMMANDS
from loraplex_server.demo import Demo, find_demo
from loraplex_server.settings import ServeSettings, load_settings
from loraplex_server.settings.parser import CommandLine
from loraplex_server.tenants.key_file import KeyFile

FOLDERS = ("base", *(f"overlays/{path.name}" for path in sorted((KUSTOMIZE / "overlays").iterdir())))
SHIPPED = {
    **{f"values {name}": (rendered, name) for name in VALUES},
    **{f"kustomize {name}": (kustomized, name) for name in FOLDERS},
}


def read(objects: tuple[Object, ...], root: Path) -> ServeSettings:
    """The settings with which the server would start, read by its own code."""
    command, *arguments = server_of(objects)["args"]
    assert command in ("serve", "demo")
    assert command in COMMANDS
    config = laid_out(objects, root)
    arguments[arguments.index("--config") + 1] = str(config)
    command_line = CommandLine(f"loraplex {command}", "", takes_model=command == "serve")
    defaults: dict[str, Any] = dict(Demo(find_demo()).defaults) if command == "demo" else {}
    return load_settings(command_line, arguments, variables(objects), defaults)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_server_takes_every_option_that_is_shipped(name: str, tmp_path: Path) -> None:
    make, argument = SHIPPED[name]
    settings = read(make(argument), tmp_path)
    assert settings.host == "0.0.0.0"
    assert settings.port == 8000
    assert settings.state_dir == tmp_path / "state"
    assert settings.adapter_cache == tmp_path / "cache" / "adapters"
    assert settings.log_format == "json"


def test_another_address_wins_over_the_images(tmp_path: Path) -> None:
    """The image has a variable for it, which wins over every file: so it can only be a variable."""
    assert "LORAPLEX_HOST=0.0.0.0" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    objects = render({"demo": True, "host": "::"})
    assert variables(objects)["LORAPLEX_HOST"] == "::"
    assert read(objects, tmp_path).host == "::"


def test_numbers_reach_the_server_as_they_were_written(tmp_path: Path) -> None:
    settings = read(rendered("gpu-many-tenants"), tmp_path)
    assert settings.batch_max_requests == 1_000_000
    assert settings.shutdown_timeout == 180
    assert settings.adapter_memory == 12 * 2**30
    assert settings.allow_adapter_source == ("s3://loras/*",)
    assert settings.tensor_parallel_size == 2
    assert settings.otlp_traces_endpoint == "http://collector.observability:4318/v1/traces"


@pytest.mark.parametrize("name", VALUES)
def test_a_server_that_has_a_gpu_does_without_none(name: str, tmp_path: Path) -> None:
    has_gpu = any("gpu" in each for each in server_of(rendered(name))["resources"].get("limits", {}))
    assert read(rendered(name), tmp_path).device == ("cuda" if has_gpu else "auto")


def test_the_device_can_be_another_than_the_charts(tmp_path: Path) -> None:
    values = {"demo": True, "gpu": {"enabled": True}, "settings": {"device": "auto"}}
    assert read(render(values), tmp_path).device == "auto"


def test_keys_of_tenants_are_what_the_server_reads(tmp_path: Path) -> None:
    settings = read(rendered("gpu-many-tenants"), tmp_path)
    assert settings.keys is not None
    file = KeyFile(settings.keys)
    keys = dict(zip(("acme-1", "globex-1"), file.keys(), strict=True))
    assert [key.id for key in keys.values()] == list(keys)
    assert keys["acme-1"].grant.adapters == ["acme-*", "base"]
    assert keys["acme-1"].grant.tokens_per_minute == 1_000_000
    assert keys["globex-1"].grant.concurrency == 8


def test_values_of_other_names_become_settings(tmp_path: Path) -> None:
    values = {
        "demo": True,
        "metrics": {"open": True},
        "tls": {"existingSecret": "certificate"},
        "shutdown": {"timeoutSeconds": 0.5},
        "extraArgs": ["--max-num-seqs", "7"],
        "settings": {"quantization-cache": "off", "max-num-seqs": 9, "request-log": False},
        "extraEnv": [{"name": "LORAPLEX_LOG_LEVEL", "value": "debug"}],
    }
    settings = read(render(values), tmp_path)
    assert settings.open_metrics
    assert settings.ssl_certfile == tmp_path / "etc/loraplex/tls/tls.crt"
    assert settings.shutdown_timeout == 0.5
    assert settings.max_num_seqs == 7  # the command line wins
    assert settings.quantization_cache == "off"
    assert not settings.request_log
    assert settings.log_level == "debug"


@pytest.mark.parametrize(
    ("resources", "settings", "threads"),
    [
        ({"requests": {"cpu": "2"}}, {}, 2),
        ({"requests": {"cpu": 3}, "limits": {"cpu": "1500m"}}, {}, 2),
        ({"requests": {"cpu": "100m"}}, {}, 1),
        ({"requests": {"cpu": "2.5"}}, {}, 3),
        ({"requests": {"cpu": "2"}}, {"threads": 6}, 6),
    ],
)
def test_the_server_has_a_thread_for_each_cpu_of_the_pod(
    resources: dict[str, Any], settings: dict[str, Any], threads: int, tmp_path: Path
) -> None:
    objects = render({"demo": True, "resources": resources, "settings": settings})
    assert read(objects, tmp_path).threads == threads


def test_spans_say_which_pod_made_them() -> None:
    told = {each["name"]: each for each in server_of(rendered("gpu-many-tenants"))["env"]}
    assert told["OTEL_SERVICE_NAME"]["value"] == "prod-loraplex"
    assert told["OTEL_RESOURCE_ATTRIBUTES"]["value"] == "k8s.namespace.name=models,k8s.pod.name=$(POD_NAME)"
    names = list(told)
    assert names.index("POD_NAME") < names.index("OTEL_RESOURCE_ATTRIBUTES"), "Kubernetes fills in what stands before"


def test_no_secret_stands_in_a_variable_or_in_the_settings() -> None:
    values = {
        "model": "org/name",
        "auth": {"apiKey": {"value": "hidden-1,hidden-2"}, "adminKey": {"value": "hidden-3"}},
        "huggingFace": {"value": "hidden-4"},
        "tenants": {"keys": [{"id": "a", "hash": "sha256:" + "0" * 64, "tenant": "hidden-5"}]},
    }
    objects = render(values)
    secrets = all_of("Secret", objects)
    assert yaml.safe_dump(secrets).count("hidden-") == 5
    assert "hidden-" not in yaml.safe_dump([item for item in objects if item not in secrets])
    told = {each["name"]: each.get("valueFrom", {}).get("secretKeyRef") for each in server_of(objects)["env"]}
    kept = secrets[0]["stringData"]
    for name in ("LORAPLEX_API_KEY", "LORAPLEX_ADMIN_KEY", "HF_TOKEN"):
        assert told[name]["name"] == secrets[0]["metadata"]["name"]
        assert told[name]["key"] in kept
        assert "optional" not in told[name], "a server whose key is missing would stand open"


def test_a_change_of_settings_or_keys_rolls_the_pods() -> None:
    def checksums(**values: object) -> dict[str, str]:
        objects = render({"demo": True, **values})
        annotations: dict[str, str] = all_of("Deployment", objects)[0]["spec"]["template"]["metadata"]["annotations"]
        return annotations

    before = checksums(auth={"apiKey": {"value": "a"}})
    assert checksums(auth={"apiKey": {"value": "a"}}) == before
    assert checksums(auth={"apiKey": {"value": "b"}})["checksum/secret"] != before["checksum/secret"]
    changed = checksums(auth={"apiKey": {"value": "a"}}, settings={"max-num-seqs": 3})
    assert changed["checksum/settings"] != before["checksum/settings"]


def test_settings_are_one_option_a_line_in_order() -> None:
    lines = settings_text(rendered("gpu-many-tenants")).splitlines()
    names = [line.partition(":")[0] for line in lines]
    assert names == sorted(names)
    assert len(names) == len(set(names))

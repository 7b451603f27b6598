"""The files of docker compose, Prometheus and Grafana: each by the rules of whoever reads it, and all agreeing."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.compose import FILE, FOLDER, read_compose
from support.installed import folder_of, program
from support.servers import ROOT

from loraplex_server.bench.load.arguments import server_parser
from loraplex_server.settings import ServeSettings

GPU = FOLDER / "compose.gpu.yaml"
BOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "loraplex.json").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = read_compose()["services"]
EVERY = pytest.mark.parametrize("name", SERVICES)


def load(path: str) -> Any:
    return yaml.safe_load((FOLDER / path).read_text(encoding="utf-8"))


def source() -> dict[str, Any]:
    (only,) = load("grafana/datasources/prometheus.yaml")["datasources"]
    return only


@pytest.mark.parametrize("path", [FILE, GPU], ids=lambda path: path.name)
def test_compose_keeps_to_its_specification(path: Path) -> None:
    judge = folder_of("deploy") / "bin" / "check-jsonschema"
    done = subprocess.run([judge, "--builtin-schema", "vendor.compose-spec", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_misspelt_key_would_be_found(tmp_path: Path) -> None:
    judge = folder_of("deploy") / "bin" / "check-jsonschema"
    (tmp_path / "bad.yaml").write_text(FILE.read_text().replace("read_only:", "readonly:"), encoding="utf-8")
    done = subprocess.run(
        [judge, "--builtin-schema", "vendor.compose-spec", tmp_path / "bad.yaml"], capture_output=True, text=True
    )
    assert done.returncode != 0


def test_yaml_is_tidy() -> None:
    rules = "{extends: default, rules: {line-length: {max: 120}, document-start: disable}}"
    done = subprocess.run(
        [folder_of("deploy") / "bin" / "yamllint", "--strict", "-d", rules, FOLDER], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@EVERY
def test_a_service_has_no_rights_and_a_root_that_cannot_be_written(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), "for this machine only"


@EVERY
def test_a_service_that_others_wait_for_says_when_it_is_there(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert "test" in SERVICES[other]["healthcheck"]


@pytest.mark.parametrize(
    ("variables", "command"),
    [
        pytest.param({}, ["demo"], id="nothing at hand"),
        pytest.param({"MODEL": "org/name"}, ["serve", "org/name"], id="a model"),
        pytest.param(
            {"MODEL": "/models/a", "MODELS": "/srv/models", "ADAPTERS": "/srv/adapters"},
            ["serve", "/models/a", "--adapters=/adapters"],
            id="a model and adapters",
        ),
    ],
)
def test_what_is_served_is_said_by_variables(variables: dict[str, str], command: list[str]) -> None:
    service = read_compose(**variables)["services"]["loraplex"]
    assert service["command"].split() == command
    folders = {volume.split(":")[1]: volume.split(":")[0] for volume in service["volumes"]}
    assert folders["/models"] == variables.get("MODELS", "models")
    assert folders["/adapters"] == variables.get("ADAPTERS", "adapters")


@pytest.mark.parametrize(
    ("variables", "law", "key"),
    [
        pytest.param({}, "zipf", "", id="the demo, which has adapters"),
        pytest.param({"MODEL": "org/name"}, "base", "", id="a model without adapters"),
        pytest.param({"MODEL": "org/name", "ADAPTERS": "/srv", "TRAFFIC_KEY": "k"}, "zipf", "k", id="adapters, a key"),
    ],
)
def test_the_traffic_asks_for_what_is_served(variables: dict[str, str], law: str, key: str) -> None:
    """Else it would end at once with an error, and be started again for ever."""
    _, _, *arguments = read_compose(**variables)["services"]["traffic"]["command"].split()
    given = server_parser("bench serve").parse_args(arguments)
    assert (given.popularity.law, given.api_key) == (law, key)


def test_every_variable_is_explained_and_every_one_explained_is_read() -> None:
    text = FILE.read_text(encoding="utf-8")
    explained = set(re.findall(r"^#([A-Z_]+)=", (FOLDER / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
    assert len(explained) >= 8
    read = {name for name in explained if f"${{{name}" in text or f"      {name}:\n" in text}
    assert read == explained
    assert set(re.findall(r"\$\{(\w+)", text)) <= explained


def test_variables_of_the_server_are_options() -> None:
    for name in SERVICES["loraplex"]["environment"]:
        if name.startswith("LORAPLEX_"):
            assert name.removeprefix("LORAPLEX_").lower() in ServeSettings.model_fields


def test_a_stopped_server_has_time_to_finish() -> None:
    patience = ServeSettings.model_fields["shutdown_timeout"].default
    assert float(SERVICES["loraplex"]["stop_grace_period"].removesuffix("s")) >= patience + 10


def test_volumes_are_declared_and_bound_files_are_there() -> None:
    declared = read_compose()["volumes"]
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            place = volume.split(":")[0]
            assert (FOLDER / place).exists() if place.startswith(".") else place in declared


def test_the_gpus_file_only_adds() -> None:
    for name, service in read_compose(GPU)["services"].items():
        assert name in SERVICES
        assert set(service) <= {"image", "build", "shm_size", "deploy"}
    arguments = read_compose(GPU)["services"]["loraplex"]["build"]["args"]
    recipe = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert all(f"ARG {name}" in recipe for name in (*arguments, *SERVICES["loraplex"]["build"]["args"]))


def test_promtool_finds_no_fault_with_prometheus_and_the_rules(tmp_path: Path) -> None:
    for path in (FOLDER / "prometheus.yaml", ROOT / "deploy" / "prometheus" / "rules.yaml"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    done = subprocess.run(
        [program("promtool"), "check", "config", tmp_path / "prometheus.yaml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "1 rule files found" in done.stdout


def test_prometheus_scrapes_where_the_server_listens() -> None:
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in load("prometheus.yaml")["scrape_configs"]}
    assert jobs["loraplex"] == [f"loraplex:{ServeSettings.model_fields['port'].default}"]


def test_grafana_asks_the_prometheus_that_is_there_and_as_often_as_it_scrapes() -> None:
    assert source()["url"] == "http://prometheus:9090"
    assert source()["jsonData"]["timeInterval"] == load("prometheus.yaml")["global"]["scrape_interval"]


def test_the_dashboard_finds_its_data_source() -> None:
    (variable,) = (each for each in BOARD["templating"]["list"] if each["type"] == "datasource")
    assert variable["query"] == source()["type"] == "prometheus"
    assert source()["isDefault"] is True, "what a variable of that type begins with"
    used = {panel["datasource"]["uid"] for panel in BOARD["panels"] if "datasource" in panel}
    assert used <= {f"${{{variable['name']}}}", source()["uid"]}
    assert used


def test_the_dashboard_is_home() -> None:
    grafana = SERVICES["grafana"]
    (provider,) = load("grafana/dashboards/loraplex.yaml")["providers"]
    folder = provider["options"]["path"]
    (bound,) = (volume.split(":") for volume in grafana["volumes"] if f":{folder}:" in volume)
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == folder
    assert (FOLDER / bound[0] / home.name).resolve() == ROOT / "deploy" / "grafana" / "dashboards" / "loraplex.json"


def test_nobody_can_log_in_to_grafana() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"

"""What the README says of running it elsewhere than here: each command is done as far as it goes without a cluster."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from support.charts import CHART, helm, kustomized, objects_of
from support.installed import folder_of
from support.kubernetes_schemas import native_complaints
from support.servers import DEMO, ROOT
from support.typed_lines import typed_lines

from loraplex_server.cli import main
from loraplex_server.settings import load_settings
from loraplex_server.settings.parser import CommandLine

README = (ROOT / "README.md").read_text(encoding="utf-8")
KUBERNETES = "1.34"


def typed(*start: str) -> list[list[str]]:
    """Words of the lines that begin so."""
    return [shlex.split(line) for line in typed_lines(README, *start)]


def test_the_release_that_helm_installs_is_one_that_kubernetes_takes() -> None:
    for _, _, name, chart, *values in typed("helm", "install"):
        assert ROOT / chart == CHART
        objects = objects_of(helm("template", name, CHART, *values))
        assert "Deployment" in {item["kind"] for item in objects}
        assert native_complaints(objects, KUBERNETES) == []


def test_what_kubectl_applies_is_what_kubernetes_takes() -> None:
    for *_, folder in typed("kubectl", "apply", "-k"):
        objects = kustomized(str(Path(folder).relative_to("deploy/kustomize")))
        assert "Deployment" in {item["kind"] for item in objects}
        assert native_complaints(objects, KUBERNETES) == []


def test_the_plan_is_made(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loraplex_server.commands.plan.hide_torch", lambda: None)  # other tests here need it
    for words in typed("loraplex", "plan"):
        assert main([str(DEMO / "base") if "/" in word else word for word in words[1:]]) == 0
        assert "1,000 adapters" in capsys.readouterr().out


def test_servers_take_their_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adapters").mkdir()
    for words in typed("loraplex", "serve"):
        assert load_settings(CommandLine("loraplex serve", ""), words[2:]).model


def test_the_router_knows_its_options() -> None:
    program = folder_of("vllm-router") / "bin" / "vllm-router"
    told = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    for words in typed("vllm-router"):
        options = [word for word in words if word.startswith("--")]
        assert options
        assert all(f"{option} " in told or f"{option}\n" in told for option in options)

"""What the pages say of docker is done: each line by runc, on the image that the first of them builds."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest
from support.contained import LIMIT_S, URL, ready, wait
from support.containers import running
from support.docker_lines import build_arguments, docker_lines, read_run
from support.images import Image
from support.network import Network
from support.servers import DEMO, NO_TLS, ROOT

PAGES = [ROOT / "README.md", ROOT / "docs" / "container.md"]
LINES = sorted({line for page in PAGES for line in docker_lines(page, "run")})
RECIPE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in docker_lines(page, "build")}))
def test_what_a_build_is_told_is_what_it_asks(line: str) -> None:
    names = list(build_arguments(line))
    assert names
    assert all(f"\nARG {name}=" in RECIPE for name in names)


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in docker_lines(page, "compose")}))
def test_composes_files_are_there(line: str) -> None:
    words = line.split()
    files = [words[number + 1] for number, word in enumerate(words) if word == "-f"]
    assert files
    assert all((ROOT / path).exists() for path in files)


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in LINES if "--gpus" not in line])
def test_a_line_serves(line: str, image: Image, own_network: Network, tmp_path: Path) -> None:
    run = read_run(line)
    assert run.options["-p"] == ["127.0.0.1:8000:8000"]
    shutil.copytree(DEMO / "base", tmp_path / "models" / "my-model")
    shutil.copytree(DEMO / "adapters", tmp_path / "adapters")
    with own_network.inside(running(image, tmp_path / "bundle", run.shape(tmp_path))) as container:
        own_network(wait, ready, "ready", container)
        models = own_network(httpx.get, f"{URL}/v1/models", verify=NO_TLS).json()["data"]
        assert "reverse" in [model["id"] for model in models]
        container.signal("TERM")
        assert container.process.wait(LIMIT_S) == 0

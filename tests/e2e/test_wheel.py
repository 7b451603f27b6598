"""A wheel, installed into an empty environment, serves the demo: nothing comes from the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.servers import ROOT, serving


@pytest.mark.slow
def test_a_wheel_in_an_empty_environment_serves_the_demo(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith(".so") for name in names)
    assert not any(name.startswith(("tests/", "examples/", "benchmarks/")) for name in names)
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    # Most of what torch and transformers bring is never imported here: Python compiles what is.
    subprocess.run([*pip, "--no-compile", "-c", str(ROOT / "constraints.txt"), str(wheel)], check=True)
    with serving(["demo"], tmp_path / "log", command=[str(environment / "bin" / "loraplex")]) as server:
        models = [model["id"] for model in server.get("/v1/models").json()["data"]]
        assert len(models) >= 9
        asked = {"model": "reverse", "messages": [{"role": "user", "content": "stone"}], "temperature": 0}
        answer = server.post("/v1/chat/completions", asked)
        assert answer.json()["choices"][0]["message"]["content"] == "enots"

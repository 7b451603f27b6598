"""What the README shows is what the demo says: its commands are run, its answers compared, its table measured."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
from typing import Any

import pytest
from support.servers import ROOT, Server

README = (ROOT / "README.md").read_text(encoding="utf-8")
CURLS = re.findall(r"^\$ (curl .*?)\n(.*?)^(?=\$|```)", README, re.MULTILINE | re.DOTALL)
# The last one: how much of a prompt is cached depends on what was asked before.
VOLATILE = {"id", "created", "system_fingerprint", "prompt_tokens_details"}


def stable(text: str) -> list[Any]:
    """The JSON of an answer or of its SSE events, without what differs from call to call."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(each) for key, each in value.items() if key not in VOLATILE}
        return [strip(each) for each in value] if isinstance(value, list) else value

    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.strip()]
    return [strip(json.loads(line)) if line.startswith("{") else line for line in lines]


def test_the_readme_shows_several_curl_lines() -> None:
    assert len(CURLS) >= 3


@pytest.mark.parametrize(("command", "shown"), CURLS, ids=range(len(CURLS)))
def test_a_curl_line_gives_the_output_shown(demo: Server, command: str, shown: str) -> None:
    arguments = shlex.split(command.replace("\\\n", " ").replace("http://127.0.0.1:8000", demo.url))
    got = subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=120).stdout
    assert stable(got) == stable(shown)


def test_the_table_of_adapters_is_what_the_server_measures(demo: Server) -> None:
    spec = importlib.util.spec_from_file_location("demo_accuracy", ROOT / "benchmarks" / "demo_accuracy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    import asyncio

    rows = asyncio.run(module.measure(demo.url))
    assert len(rows) >= 8
    for row in rows:
        (line,) = (line for line in README.splitlines() if line.startswith(f"| `{row['name']}` |"))
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        expected = [cell.strip() for cell in module.table([row]).splitlines()[-1].strip("|").split("|")]
        assert cells[:5] == expected[:5]
        # Greedy choices may differ by a rounding between processors: a point or two.
        assert float(cells[5].strip("%")) == pytest.approx(100 * row["adapter_exact"], abs=2)
        assert row["adapter_exact"] >= 0.95
        assert row["base_exact"] < 0.30


def test_make_targets_named_in_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", README)) <= targets

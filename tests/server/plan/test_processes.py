"""What the processes take is known from the files that they read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants
from support.servers import DEMO

from loraplex_server.plan.asked import Adapters, Asked, Machine
from loraplex_server.plan.make import make_plan
from loraplex_server.plan.model import read_model
from loraplex_server.plan.processes import TOKENIZER, TYPICAL_TOKENIZER


def overhead(model: str) -> int:
    """Of a CPU server of that model."""
    machine = Machine("a CPU", "cpu", 2 << 30)
    return make_plan(read_model(model, None), machine, Asked(), Adapters()).overhead


def test_a_hub_models_tokenizer_is_weighed_where_the_hub_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--org--model"
    shutil.copytree(DEMO / "base", kept / "snapshots" / "1234", ignore=shutil.ignore_patterns("*.safetensors"))
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("1234")
    assert overhead("org/model") == overhead(str(DEMO / "base"))


def test_a_larger_tokenizer_takes_more_and_a_missing_one_is_taken_for_a_usual_one(tmp_path: Path) -> None:
    shutil.copytree(DEMO / "base", tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))
    file = tmp_path / "tokenizer.json"
    there, size = overhead(str(tmp_path)), file.stat().st_size
    with file.open("ab") as grown:
        grown.write(b" " * 1_000_000)
    assert overhead(str(tmp_path)) - there == pytest.approx(TOKENIZER * 1_000_000, abs=1)
    file.unlink()
    assert overhead(str(tmp_path)) - there == pytest.approx(TOKENIZER * (TYPICAL_TOKENIZER - size), abs=1)

"""`loraplex adapters check`: what an adapter is said to be, and every reason against it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from peft import PromptTuningConfig, get_peft_model
from support.checkpoints import load_base, write_adapter, write_base

from loraplex_server.cli import main


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "mine"
    options = {"r": 4, "rank_pattern": {"q_proj": 9}, "use_rslora": True, "use_dora": True}
    return write_adapter(base, folder, target_modules=["q_proj", "v_proj"], **options)


@pytest.fixture
def copy(adapter: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(adapter, tmp_path / "mine"))


def check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code = main(["adapters", "check", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def edit_config(folder: Path, **fields: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_good_one_is_described(adapter: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = check(capsys, adapter, "--model", base)
    assert (code, found["ok"], found["reasons"]) == (0, True, [])
    assert found["method"] == "LoRA + rsLoRA + DoRA"
    assert (found["ranks"], found["targets"]) == ([4, 9], ["q_proj", "v_proj"])
    assert (found["tensors"], found["dtypes"]) == (18, ["F32"])
    tensors = (adapter / "adapter_model.safetensors").stat().st_size
    assert found["disk_bytes"] == tensors + (adapter / "adapter_config.json").stat().st_size
    assert 0.8 * tensors < found["memory_bytes"] < tensors
    assert (found["memory_dtype"], found["sites"], found["traits"]) == ("float32", 6, [])


def test_without_a_model_its_files_alone_are_checked(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = check(capsys, adapter)
    assert (code, found["ok"], found["memory_bytes"], found["ranks"]) == (0, True, None, [4, 9])


def test_every_reason_is_told(copy: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit_config(copy, target_modules=["q_proj"])
    code, found = check(capsys, copy, "--model", base)
    assert (code, found["ok"]) == (1, False)
    assert "does not select" in found["reasons"][0]
    assert "v_proj" in found["reasons"][0]
    assert check(capsys, copy)[0] == 0  # only the model tells


def test_reasons_of_config_and_tensors_are_told_together(
    copy: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_config(copy, r=-1)
    (copy / "adapter_model.safetensors").write_bytes(b"none")
    for arguments in ([copy], [copy, "--model", base]):
        code, found = check(capsys, *arguments)
        assert code == 1
        assert len(found["reasons"]) == 2
        assert "'r'" in found["reasons"][0]
        assert "damaged" in found["reasons"][1]


def test_people_get_a_table_and_a_verdict(
    copy: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    (copy / "chat_template.jinja").write_text("x")
    assert main(["adapters", "check", str(copy), "--model", str(base)]) == 0
    said = capsys.readouterr().out
    assert "q_proj, v_proj" in said
    assert "chat_template.jinja" in said
    assert f"It fits {base}" in said
    (copy / "adapter_model.safetensors").unlink()
    assert main(["adapters", "check", str(copy)]) == 1
    assert "- there is no adapter_model.safetensors" in capsys.readouterr().out


def test_what_cannot_be_looked_at_is_an_error(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["adapters", "check", str(tmp_path / "none")]) == 1
    assert "is no folder" in capsys.readouterr().err
    assert main(["adapters", "check", str(adapter), "--model", str(tmp_path)]) == 1
    assert "config.json" in capsys.readouterr().err


def test_other_methods_are_named_too(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = get_peft_model(load_base(base), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5))
    model.save_pretrained(tmp_path)
    code, found = check(capsys, tmp_path, "--model", base)
    assert (code, found["method"], found["traits"]) == (0, "PROMPT_TUNING", ["5 virtual tokens"])
    edit_config(tmp_path, peft_type="NEW_METHOD")
    code, found = check(capsys, tmp_path)
    assert (code, found["method"]) == (1, "NEW_METHOD")


def test_weights_of_the_model_are_not_needed(
    adapter: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(base / "config.json", tmp_path)
    assert check(capsys, adapter, "--model", tmp_path)[0] == 0

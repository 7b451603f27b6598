"""Where a model's files come from; the hub itself is not asked."""

from __future__ import annotations

import fnmatch

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from loraplex_server.models.errors import CheckpointError
from loraplex_server.models.folder import model_folder

REPOSITORY = [
    "config.json",
    "tokenizer.json",
    "tokenizer.model",
    "chat_template.jinja",
    "merges.txt",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "consolidated.00.safetensors",
    "original/params.json",
    "pytorch_model.bin",
    "modeling_phi3.py",
]


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the hub was asked for, instead of asking it."""
    calls = []

    def download(repo_id, **patterns):
        calls.append((repo_id, patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return calls


def _chosen(patterns):
    def matches(name, kind):
        return any(fnmatch.fnmatch(name, pattern) for pattern in patterns[kind])

    return {name for name in REPOSITORY if matches(name, "allow_patterns") and not matches(name, "ignore_patterns")}


def test_a_folder_is_itself(tmp_path, asked):
    assert model_folder(str(tmp_path)) == tmp_path
    assert asked == []


def test_a_hub_id_brings_safetensors_settings_and_tokenizer_alone(tmp_path, asked):
    assert model_folder("Qwen/Qwen2.5-0.5B") == tmp_path
    (repo_id, patterns), *_ = asked
    assert repo_id == "Qwen/Qwen2.5-0.5B"
    left = {"consolidated.00.safetensors", "original/params.json", "pytorch_model.bin", "modeling_phi3.py"}
    assert _chosen(patterns) == set(REPOSITORY) - left


def test_a_look_at_the_config_brings_no_weights(asked):
    model_folder("Qwen/Qwen2.5-0.5B", weights=False)
    assert not any(name.endswith(".safetensors") for name in _chosen(asked[0][1]))
    assert "config.json" in _chosen(asked[0][1])


@pytest.mark.parametrize("path", ["/no/such/folder", "./no/such/folder", "a b"])
def test_what_is_neither_folder_nor_id_is_refused(path):
    with pytest.raises(CheckpointError, match="neither a folder nor a hub id"):
        model_folder(path)


def test_what_the_hub_does_not_have_is_refused(monkeypatch):
    def download(repo_id, **patterns):
        raise LocalEntryNotFoundError("offline, and not in the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(CheckpointError, match="'some/model' is no folder, and the hub does not give it: offline"):
        model_folder("some/model")

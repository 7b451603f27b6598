"""Programs of others that tests drive: those of the machine, and those with an environment of their own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from support.servers import ROOT

FOLDER = ROOT / "build" / "clients"

# Nothing may be looked up anywhere but here.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_API_KEY": "none",
    "LANGSMITH_TRACING": "false",
    "TOKENIZERS_PARALLELISM": "false",
}


def environment() -> dict[str, str]:
    """Theirs: none of this project's packages."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**kept, **OFFLINE}


def folder_of(name: str) -> Path:
    """Where one with its own environment is installed; the test is skipped where it is not."""
    folder = FOLDER / name
    if not (folder / "installed").exists():
        pytest.skip(f"{name} is not installed: python tools/clients.py {name}")
    return folder


def program(name: str) -> str:
    """Path of a program that the machine's packages bring; the test is skipped where there is none."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: make machine")
    return path

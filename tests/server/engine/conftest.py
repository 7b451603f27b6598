"""A small model and an adapter of each kind, written anew for each file: tests may change them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.checkpoints import write_adapters, write_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapters(base, tmp_path_factory.mktemp("adapters"))

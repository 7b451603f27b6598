from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from peft import PeftConfig
from support.peft_files import Base
from support.peft_methods import Tune, Tuned, write_tuned


@pytest.fixture(autouse=True)
def _methods_warn() -> Iterator[None]:
    """Of odd ranks, adjusted block sizes, projections that are not saved: what these tests are about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"peft\.")
        yield


@pytest.fixture
def tune(tmp_path: Path, bases: dict[str, Base]) -> Tune:
    """`tune(config, family=..., spread=...)` saves an adapter; the spread is that of its random parameters."""

    def tune(config: PeftConfig, family: str = "llama", spread: float = 0.3) -> Tuned:
        return write_tuned(tmp_path / "adapter", config, family, bases[family], spread)

    return tune

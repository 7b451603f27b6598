"""`loraplex`, called in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from loraplex_server.cli import main


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def command(no_settings: None, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Its exit code, and what it wrote to standard output and to standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run

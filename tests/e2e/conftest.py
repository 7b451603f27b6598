"""The bundled demo, served once for all tests of this folder that do not break it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.servers import DEMO, Server, serving


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(["demo"], tmp_path_factory.mktemp("demo") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def heldout() -> dict[str, list[dict[str, str]]]:
    """Prompts that no adapter was trained on, with their answers."""
    return {
        path.stem: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted((DEMO / "heldout").glob("*.jsonl"))
    }

"""Whatever the OpenAPI document allows, and what it does not, is answered as the document says, and never with a 5xx.

FUZZ_SECONDS=600 for a long run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.servers import Server, serving

HOOKS = Path(__file__).parent / "programs" / "fuzz_hooks.py"
ADMIN = "Bearer the-admin"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
SECONDS = int(os.environ.get("FUZZ_SECONDS", "40"))
# A budget ends no phase that must be gone through.
LIMIT_S = SECONDS * 2 + 1200


@pytest.fixture
def open_to_all(tmp_path: Path) -> Iterator[Server]:
    """With everything that a flag turns on."""
    options = ["--admin-key", ADMIN.split()[1], "--state-dir", str(tmp_path / "state"), "--log-level", "warning"]
    with serving(["demo", *options], tmp_path / "log") as server:
        yield server


def test_no_contract_is_violated(open_to_all: Server, command: Callable[..., str], tmp_path: Path) -> None:
    document = [f"{open_to_all.url}/openapi.json", "--header", f"Authorization: {ADMIN}"]
    # One worker: with two, CPython 3.11's parser once mistook one thread's recursion for the other's.
    depth = ["--max-time", str(SECONDS), "--request-timeout", "60", "--continue-on-failure"]
    known = ["--suppress-health-check", "all", "--warnings", "off", "--no-shrink", "--no-color"]
    said = command(
        "schemathesis",
        ["schemathesis", "run", *document, "--checks", ",".join(CHECKS), *depth, *known],
        tmp_path,
        limit_s=LIMIT_S,
        SCHEMATHESIS_HOOKS=str(HOOKS),
    )
    assert "generated" in said
    assert open_to_all.get("/ready").status_code == 200
    assert "Traceback" not in open_to_all.log.read_text()

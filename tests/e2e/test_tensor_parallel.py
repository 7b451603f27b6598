"""The demo divided between two processes, over HTTP: each of its adapters answers as the demo in one process does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.api import until
from support.servers import DEMO, Server, serving

PER_ADAPTER = 2
pytestmark = pytest.mark.slow


def answers(server: Server, heldout: dict[str, list[dict[str, str]]]) -> dict[tuple[str, int], str]:
    found = {}
    for name, examples in heldout.items():
        for number, example in enumerate(examples[:PER_ADAPTER]):
            for model in (name, "demo"):
                body = {
                    "model": model,
                    "messages": [{"role": "user", "content": example["prompt"]}],
                    "temperature": 0,
                    "max_tokens": 24,
                }
                answered = server.post("/v1/chat/completions", body)
                assert answered.status_code == 200, answered.text
                found[f"{model} on {name}", number] = answered.json()["choices"][0]["message"]["content"]
    return found


def test_all_adapters_answer_as_in_one_process(heldout: dict[str, list[dict[str, str]]], tmp_path: Path) -> None:
    """And right, most of them; and nothing is left when the server has ended."""
    settings = ["serve", str(DEMO / "base"), "--adapters", str(DEMO / "adapters"), "--served-model-name", "demo"]
    settings += ["--dtype", "float32", "--threads", "1"]
    with serving(settings, tmp_path / "one.log") as server:
        alone = answers(server, heldout)
    with serving([*settings, "-tp", "2"], tmp_path / "two.log") as server:
        engine = server.engine_pid()
        (follower,) = Path(f"/proc/{engine}/task/{engine}/children").read_text().split()
        divided = answers(server, heldout)
    assert divided == alone
    assert len({name for name, _ in divided}) == 2 * len(heldout) >= 20
    right = [divided[f"{name} on {name}", 0] == examples[0]["answer"] for name, examples in heldout.items()]
    assert sum(right) >= 8
    asyncio.run(until(lambda: not Path(f"/proc/{follower}").exists()))

"""llama-benchy measures an adapter: it sends vLLM's own fields, and reads usage and token ids of streams."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from starlette.responses import PlainTextResponse
from support.loopback import Loopback
from support.servers import DEMO, Server

BOOK = "the story was excellent and the garden is round, everyone said that the hotel was old\n" * 400


def test_llama_benchy(demo: Server, command: Callable[..., str], tmp_path: Path) -> None:
    with Loopback(PlainTextResponse(BOOK)) as book:
        served = ["--base-url", f"{demo.url}/v1", "--model", "reverse", "--tokenizer", str(DEMO / "base")]
        # So long that an answer does not come in one piece, whose rate would have no time to be measured in.
        sizes = ["--pp", "64", "--tg", "1024", "--exact-tg"]
        load = [*sizes, "--concurrency", "1", "4", "--runs", "2", "--skip-coherence"]
        source = ["--book-url", f"http://127.0.0.1:{book.port}/book.txt"]
        kept = ["--format", "json", "--save-result", str(tmp_path / "found.json")]
        command("llama-benchy", ["llama-benchy", *served, *load, *source, *kept], tmp_path)
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["benchmarks"]
    assert [each["concurrency"] for each in found] == [1, 4]
    for each in found:
        assert all(rate > 0 for rate in each["pp_throughput"]["values"])
        assert len(each["tg_throughput"]["values"]) == 2

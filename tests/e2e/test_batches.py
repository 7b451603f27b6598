"""Batches on the demo: what is killed in the middle is answered once, and as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from support.batches import answers_in
from support.servers import DEMO, ROOT, Server, serving

Heldout = dict[str, list[dict[str, str]]]
LINES = 80
# Lines of this many tokens, among those that are left when a batch is broken off, so that it lasts until then.
LONG = {"max_tokens": 256, "ignore_eos": True}

pytestmark = pytest.mark.slow


@pytest.fixture
def lines(heldout: Heldout) -> list[dict[str, Any]]:
    """Of every adapter in turn, and an adapter that there is not."""
    names = list(heldout)

    def line(i: int) -> dict[str, Any]:
        examples = heldout[names[i % len(names)]]
        prompt = examples[i // len(names) % len(examples)]["prompt"]
        body = {"model": names[i % len(names)], "messages": [{"role": "user", "content": prompt}], "temperature": 0}
        return {
            "custom_id": f"c{i}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": body | (LONG if i > 20 and i % 3 == 1 else {"max_tokens": 64}),
        }

    found = [line(i) for i in range(LINES)]
    found[7]["body"]["model"] = "nobody"
    return found


def texts(answers: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: each["response"]["body"]["choices"][0]["message"]["content"] for name, each in answers.items()}


@pytest.fixture
def client_of() -> Callable[[Server], openai.OpenAI]:
    return lambda server: openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def lines_written(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.iterdir()) if folder.is_dir() else 0


def wait(condition: Callable[[], bool], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_batch_outlives_kill_9(
    lines: list[dict[str, Any]], client_of: Callable[[Server], openai.OpenAI], tmp_path: Path
) -> None:
    state, data = tmp_path / "state", b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    options = ["demo", "--state-dir", str(state), "--max-num-seqs", "4", "--log-level", "warning"]
    with serving(options, tmp_path / "log") as server, client_of(server) as client:
        file = client.files.create(file=("in.jsonl", data), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"run": "1"}
        )
        wait(lambda: lines_written(state / "files") - LINES >= 20)
        engine = server.engine_pid()
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        wait(lambda: not Path(f"/proc/{engine}").exists())
    assert lines_written(state / "files") - LINES < LINES
    with serving(options, tmp_path / "log2") as server, client_of(server) as client:
        wait(lambda: client.batches.retrieve(batch.id).status == "completed")
        done = client.batches.retrieve(batch.id)
        counts = done.request_counts
        assert (counts.total, counts.completed, counts.failed) == (LINES, LINES - 1, 1)
        assert done.metadata == {"run": "1"}
        good = answers_in(client.files.content(done.output_file_id).text)
        bad = answers_in(client.files.content(done.error_file_id).text)
        assert set(good) | set(bad) == {line["custom_id"] for line in lines}
        assert [(name, each["response"]["status_code"]) for name, each in bad.items()] == [("c7", 404)]
        alone = client.chat.completions.create(**lines[60]["body"])
        assert texts(good)["c60"] == alone.choices[0].message.content
        assert done.usage.output_tokens == sum(
            each["response"]["body"]["usage"]["completion_tokens"] for each in good.values()
        )


def run_batch(*arguments: str) -> subprocess.Popen[str]:
    path = os.pathsep.join(str(ROOT / folder) for folder in ("server", "kernels", "adapters"))
    return subprocess.Popen(
        [sys.executable, "-m", "loraplex_server.cli", "run-batch", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONSAFEPATH": "1", "PYTHONPATH": path},
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_run_batch_goes_on_where_it_was_ended(
    lines: list[dict[str, Any]], tmp_path: Path, number: signal.Signals
) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    own = ["--model", str(DEMO / "base"), "--adapters", str(DEMO / "adapters"), "--max-num-seqs", "4"]
    with run_batch(str(source), str(target), *own) as run:
        wait(lambda: target.exists() and target.read_bytes().count(b"\n") >= 20)
        run.send_signal(number)
        said = run.stderr.read()
    assert run.returncode == (-9 if number == signal.SIGKILL else 130)
    assert ("broken off; the same command goes on from here" in said) == (number == signal.SIGTERM)
    before = target.read_bytes()
    assert 20 <= before.count(b"\n") < LINES
    with run_batch("-i", str(source), "-o", str(target), *own) as run:
        said = run.stderr.read()
    assert run.returncode == 1, said  # one adapter there is not
    assert "answers are in OUT already" in said
    assert f"{LINES} of {LINES} done, 1 failed" in said
    assert target.read_bytes().startswith(before[: before.rindex(b"\n") + 1])
    found = answers_in(target)
    assert set(found) == {line["custom_id"] for line in lines}
    assert found.pop("c7")["response"]["status_code"] == 404


def test_a_running_server_answers_the_same(lines: list[dict[str, Any]], demo: Server, tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines[:20]))
    with run_batch(str(source), str(target), "--url", demo.url) as run:
        said = run.stderr.read()
    assert run.returncode == 1, said
    found = answers_in(target)
    found.pop("c7")
    alone = demo.post("/v1/chat/completions", lines[3]["body"]).json()
    assert texts(found)["c3"] == alone["choices"][0]["message"]["content"]

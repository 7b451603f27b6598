"""What a real server writes while things go wrong around it: lines of one form, and no secret in any of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.answering import QuietHandler, answering
from support.api import until
from support.servers import DEMO, Server, serving, wait_ready

HUB_TOKEN = "hub-token-4711"
BUCKET_KEY, BUCKET_SECRET = "AKIA" + "W" * 16, "bucket/secret+4711"
OWN_KEY, ADMIN_KEY = "own-key-4711", "admin-key-4711"
SIGNATURE = "f00d4711" * 8
PASSWORD = "pass-word-4711"
SECRETS = (HUB_TOKEN, BUCKET_KEY, BUCKET_SECRET, OWN_KEY, ADMIN_KEY, SIGNATURE, PASSWORD)
ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}
COMMIT = "0123456789abcdef" * 2 + "01234567"

DEMO_SERVER = ["serve", str(DEMO / "base"), "--adapters", str(DEMO / "adapters"), "--dtype", "float32"]


@dataclass
class Place:
    """A hub that sends files by signed links which do not work, and a bucket that lets nobody in; both repeat what they
    were sent."""

    url: str = ""
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    place = Place()

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            place.asked.append(self.path.partition("?")[0])
            said = f"{self.path} {self.headers}"
            if self.path.startswith("/api/models/org/signed"):
                files = [
                    {"rfilename": n, "size": 2, "blobId": "0" * 40}
                    for n in ("adapter_config.json", "adapter_model.safetensors")
                ]
                self._answer(200, json.dumps({"id": "org/signed", "sha": COMMIT, "siblings": files}))
            elif "/resolve/" in self.path:
                self._answer(
                    302, said, location=f"{place.url}/file?X-Amz-Credential={BUCKET_KEY}&X-Amz-Signature={SIGNATURE}"
                )
            elif self.path.startswith("/file"):
                self._answer(403, f"<Error>{said}</Error>")
            else:
                self._answer(401, f'{{"error": "Invalid credentials {HUB_TOKEN}: {said!r}"}}')

        def _answer(self, status: int, body: str, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"content-length": str(len(body.encode())), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

    with answering(Handler) as place.url:
        yield place


@pytest.fixture(scope="module")
def server(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """As talkative as it can be."""
    folder = tmp_path_factory.mktemp("logs")
    arguments = [*DEMO_SERVER, "--log-level", "debug", "--log-format", "json", "--state-dir", str(folder / "state")]
    arguments += ["--adapter-cache", str(folder / "cache"), "--allow-adapter-source", "org/*,s3://bucket/*"]
    variables = {
        "LORAPLEX_API_KEY": OWN_KEY,
        "LORAPLEX_ADMIN_KEY": ADMIN_KEY,
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": place.url,
        "HF_TOKEN": HUB_TOKEN,
        "AWS_ENDPOINT": place.url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": BUCKET_KEY,
        "AWS_SECRET_ACCESS_KEY": BUCKET_SECRET,
    }
    with serving(arguments, folder / "log", variables=variables) as server:
        yield server


def lines(server: Server) -> list[dict[str, Any]]:
    """All of them are objects of one form; the last may be being written."""
    found = [json.loads(line) for line in server.log.read_text().rpartition("\n")[0].splitlines()]
    for line in found:
        assert list(line)[:5] == ["time", "level", "logger", "process", "message"], line
        assert line["process"] in ("http", "engine")
    return found


def test_a_source_that_fails_shows_no_secret(server: Server, place: Place) -> None:
    sources = {
        f"https://ann:{PASSWORD}@127.0.0.1/adapter": 403,
        f"https://127.0.0.1/adapter?X-Amz-Signature={SIGNATURE}": 403,
        "org/refused": 404,
        "org/signed": 404,
        "s3://bucket/adapter": 404,
    }
    for number, (source, status) in enumerate(sources.items()):
        body = {"name": f"new-{number}", "source": source}
        response = server.post("/v1/adapters", body, headers={**ADMIN, "x-request-id": f"add-{number}"})
        assert response.status_code == status, response.text
        assert not [secret for secret in SECRETS if secret in response.text], response.text
    assert "/file" in place.asked  # the signed link was followed
    assert any("bucket" in path for path in place.asked)
    audits = [line for line in lines(server) if line["logger"] == "loraplex_server.audit"]
    assert [line["request_id"] for line in audits] == [f"add-{number}" for number in range(len(sources))]
    assert {line["outcome"] for line in audits} == {"denied", "failed"}
    fetched = [line for line in lines(server) if line["message"] == "adapter source cannot be had"]
    assert {line["request_id"] for line in fetched} == {"add-2", "add-3", "add-4"}  # tasks are their request's too


def test_keys_are_in_no_line_and_no_answer(server: Server) -> None:
    made = server.post("/v1/keys", {"tenant": "acme"}, headers=ADMIN).json()
    secret = made["secret"]
    tenant = {"authorization": f"Bearer {secret}"}
    assert server.post("/v1/completions", {"prompt": "apple", "max_tokens": 2}, headers=tenant).status_code == 200
    said = [
        server.get(f"/v1/models/{secret}", headers=tenant),
        server.post("/v1/completions", {"model": OWN_KEY, "prompt": "x"}, headers=tenant),
        server.post("/v1/completions", {"prompt": "x"}, headers={"authorization": f"Bearer {secret}x"}),
        server.post("/v1/completions", {"prompt": "x"}, headers={"x-api-key": f"wrong-{SIGNATURE}"}),
    ]
    said.append(httpx.delete(f"{server.url}/v1/keys/{secret}", headers=ADMIN, timeout=120))
    assert [response.status_code for response in said] == [404, 404, 401, 401, 404]
    assert not [response.text for response in said if secret in response.text or OWN_KEY in response.text]
    refused = [line for line in lines(server) if line["message"] == "request" and line["status"] == 401]
    assert len(refused) == 2
    text = server.log.read_text()
    assert [each for each in (*SECRETS, secret) if each in text] == []


def test_probes_leave_no_lines(server: Server) -> None:
    for path in ("/health", "/ready", "/metrics", "/ping", "/version"):
        server.get(path)
    logged = {line["endpoint"] for line in lines(server) if line["message"] == "request"}
    assert logged.isdisjoint({"/health", "/ready", "/metrics", "/ping", "/version"})


def test_the_engines_lines_have_the_same_form(server: Server) -> None:
    engine = [line for line in lines(server) if line["process"] == "engine"]
    assert [line for line in engine if line["logger"] == "loraplex_server.engine.build" and line["level"] == "info"]


@pytest.mark.slow
async def test_a_dead_engine_leaves_its_stack_among_the_lines(server: Server) -> None:
    os.kill(server.engine_pid(), signal.SIGSEGV)
    await until(lambda: "restart in" in server.log.read_text())
    wait_ready(server)
    text = server.log.read_text()
    assert "most recent call first" in text
    restarts = [json.loads(line) for line in text.splitlines() if "restart in" in line]
    assert "ended with code -11" in restarts[0]["message"]


@pytest.mark.parametrize(
    ("arguments", "secret"),
    [
        (["--api-key", OWN_KEY, "--max-num-seqs", "none"], OWN_KEY),
        (["--api-key", f"{OWN_KEY},,"], OWN_KEY),
        (["--otlp-traces-endpoint", f"http://ann:{PASSWORD}@host:4318"], PASSWORD),
        (["--otlp-traces-endpoint", f"grpc://ann:{PASSWORD}@host:4317"], PASSWORD),
        (["--lora-modules", f"a=https://ann:{PASSWORD}@host/x"], PASSWORD),
        (["--hf-token", HUB_TOKEN], HUB_TOKEN),
    ],
)
def test_bad_settings_are_told_without_secrets(arguments: list[str], secret: str) -> None:
    command = [sys.executable, "-m", "loraplex_server.cli", "serve", str(DEMO / "base"), *arguments]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(command, text=True, env=env, capture_output=True, check=False, timeout=120)
    assert ran.returncode in (1, 2), ran.stderr
    assert ran.stderr
    assert secret not in ran.stderr + ran.stdout


@pytest.mark.slow
def test_prompts_are_logged_where_that_is_asked_for(tmp_path: Path) -> None:
    arguments = [*DEMO_SERVER, "--log-prompts", "--log-prompts-length", "40", "--log-format", "json"]
    with serving(arguments, tmp_path / "log") as server:
        messages = [{"role": "user", "content": "zebra " * 50}]
        answer = server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 60}).json()
        server.post("/v1/completions", {"prompt": ["apple", "pear"], "max_tokens": 3, "stream": True})
    found = lines(server)
    assert [line for line in found if line["level"] == "warning" and "--log-prompts" in line["message"]]
    chat, completion = [line for line in found if line["message"] == "request"]
    (prompt,) = chat["prompts"]
    assert "zebra" in prompt
    assert len(prompt) == 43
    assert prompt.endswith("...")
    (said,) = chat["answers"]
    text = answer["choices"][0]["message"]["content"]
    assert said == (text if len(text) <= 40 else text[:40] + "...")
    assert completion["prompts"] == ["apple", "pear"]
    assert len(completion["answers"]) == 2

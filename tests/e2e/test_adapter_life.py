"""The life of adapters on a real server: added, aliased, pinned, replaced, changed on disk, remembered, removed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from safetensors.torch import load_file, save_file
from support.servers import DEMO, ROOT, Server, serving, wait_ready
from transformers import AutoTokenizer

TENSORS = "adapter_model.safetensors"
ADMIN = {"authorization": "Bearer boss"}


def arguments(root: Path) -> list[str]:
    """One adapter in the catalogue's folder, two in a folder that adapters may be added from."""
    catalog, places = root / "catalog", root / "places"
    for folder in (catalog / "vowels", places / "upper", places / "reverse"):
        if not folder.exists():
            shutil.copytree(DEMO / "adapters" / folder.name, folder)
    return [
        *("serve", str(DEMO / "base"), "--adapters", str(catalog), "--dtype", "float32", "--admin-key", "boss"),
        *("--allow-adapter-source", str(places), "--state-dir", str(root / "state"), "--max-model-len", "256"),
    ]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("life")


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Server]:
    with serving(arguments(root), root / "log") as server:
        yield server


def admin(server: Server, method: str, path: str, body: Any = None) -> httpx.Response:
    return httpx.request(method, server.url + path, json=body, headers=ADMIN, timeout=120)


def say(server: Server, model: str, text: str = "stone") -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 20}
    return server.post("/v1/chat/completions", body)


def answer(server: Server, model: str) -> str:
    return str(say(server, model).raise_for_status().json()["choices"][0]["message"]["content"])


def show(server: Server, name: str) -> dict[str, Any]:
    return dict(admin(server, "GET", f"/v1/adapters/{name}").raise_for_status().json())


def until(found: Callable[[], bool], limit_s: float = 600.0) -> None:
    deadline = time.monotonic() + limit_s
    while not found():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come to that")
        time.sleep(0.1)


def test_a_whole_life(tmp_path: Path) -> None:
    places = tmp_path / "places"
    with serving(arguments(tmp_path), tmp_path / "log") as server:
        added = admin(server, "POST", "/v1/adapters", {"name": "up", "source": str(places / "upper"), "aliases": ["a"]})
        assert added.status_code == 201
        body = added.json()
        assert body["memory_bytes"] is None or body["memory_bytes"] > 0
        assert answer(server, "up") == answer(server, "a") == "STONE"
        said = say(server, "a")
        assert said.json()["model"] == "a"
        assert said.headers["x-loraplex-generation"] == body["generation_short"]
        assert said.json()["system_fingerprint"].endswith(body["generation_short"])
        until(lambda: show(server, "a")["state"] == "device")
        assert show(server, "up")["generation"] == body["generation"]

        replaced = {"name": "up", "source": str(places / "reverse"), "replace": True, "pinned": True}
        assert admin(server, "POST", "/v1/adapters", replaced).status_code == 200
        assert answer(server, "a") == "enots"
        assert say(server, "a").headers["x-loraplex-generation"] != body["generation_short"]

        (places / "upper" / TENSORS).write_bytes(b"damaged")
        bad = {"name": "up", "source": str(places / "upper"), "replace": True}
        refused = admin(server, "POST", "/v1/adapters", bad)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "adapter_refused")
        assert "damaged" in refused.json()["error"]["message"]
        assert answer(server, "up") == "enots"

        os.kill(server.engine_pid(), signal.SIGKILL)
        until(lambda: server.get("/ready").status_code == 503)
        wait_ready(server)
        until(lambda: show(server, "up")["state"] == "device")  # pinned: nobody asked for it

    with serving(arguments(tmp_path), tmp_path / "log2") as server:
        until(lambda: show(server, "a")["state"] == "device")
        assert show(server, "a")["pinned"] is True
        assert answer(server, "a") == "enots"
        names = [card["id"] for card in server.get("/v1/models").json()["data"]]
        assert names == ["base", "a", "up", "vowels"]
        assert admin(server, "DELETE", "/v1/adapters/up").status_code == 200
        assert say(server, "up").status_code == say(server, "a").status_code == 404
        for log in ("log", "log2"):
            assert "Traceback" not in (tmp_path / log).read_text()


def test_a_changed_folder_answers_anew_and_a_pin_follows(server: Server, root: Path) -> None:
    assert admin(server, "PATCH", "/v1/adapters/vowels", {"pinned": True}).status_code == 200
    before = show(server, "vowels")["generation"]
    folder = root / "catalog" / "vowels"
    tensors = load_file(folder / TENSORS)
    save_file({name: -each if "lora_B" in name else each for name, each in tensors.items()}, folder / ".fresh")
    os.replace(folder / ".fresh", folder / TENSORS)
    until(lambda: show(server, "vowels")["generation"] not in (None, before))
    after = show(server, "vowels")
    assert say(server, "vowels").headers["x-loraplex-generation"] == after["generation_short"]


def test_an_adapters_own_template_and_tokens_are_used(server: Server, root: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "base")
    tokenizer.add_tokens(["<|new|>"])
    tokenizer.chat_template += "<|new|>"
    tokenizer.save_pretrained(root / "places" / "reverse")
    for name, folder in (("own", "reverse"), ("plain", "upper")):
        source = str(root / "places" / folder)
        assert admin(server, "POST", "/v1/adapters", {"name": name, "source": source}).is_success
    messages = {"messages": [{"role": "user", "content": "stone"}]}
    own = server.post("/tokenize", {"model": "own", **messages, "return_token_strs": True}).json()
    assert own["token_strs"][-1] == "<|new|>"
    assert own["tokens"][:-1] == server.post("/tokenize", messages).json()["tokens"]
    assert server.post("/detokenize", {"model": "own", "tokens": own["tokens"][-1:]}).json()["prompt"] == "<|new|>"
    # The base's vocabulary has no row for it, and the adapter brings none.
    refused = say(server, "own")
    assert refused.status_code == 400
    assert "vocabulary" in refused.json()["error"]["message"]
    added = [{"name": "own"}, {"name": "plain"}]
    refused = server.post("/v1/completions", {"model": "base", "adapters": added, "prompt": "x"})
    assert refused.json()["error"]["code"] == "different_tokenizers"
    assert answer(server, "plain") == "STONE"


def test_the_command_line_does_the_same(server: Server, root: Path) -> None:
    def run(*words: str) -> Any:
        path = os.pathsep.join(str(ROOT / folder) for folder in ("server", "kernels", "adapters"))
        environment = {**os.environ, "PYTHONPATH": path, "LORAPLEX_URL": server.url, "LORAPLEX_ADMIN_KEY": "boss"}
        command = [sys.executable, "-m", "loraplex_server.cli", "adapters", *words, "--json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)

    assert run("add", "up", str(root / "places" / "upper"), "--pin")["pinned"] is True
    assert {"up", "vowels"} <= {adapter["name"] for adapter in run("list")}
    assert answer(server, "up") == "STONE"
    assert run("remove", "up")["deleted"] is True

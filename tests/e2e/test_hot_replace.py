"""An adapter replaced under load: each answer is wholly of one version, and is what that version says alone."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from safetensors.torch import load_file, save_file
from support.servers import DEMO, Server, serving

from loraplex_adapters.fingerprint import TENSOR_FILE

REPLACEMENTS = {True: 200, False: 60}  # if exhaustive: at least, and until there are so many answers
ANSWERS = 100
CLIENTS = 6
PAUSE_S = 0.05
LIMIT_S = 240.0  # only where a version is never served
FACTORS = {"v1": 1.0, "v2": -1.0, "v3": 0.3, "v4": 3.0}  # of lora_B: versions under one config
VERSIONS = list(FACTORS)
PROMPTS = ["tac", "apple", "one two", "zebra"]
GENERATION = "x-loraplex-generation"

Said = tuple[str, str, str]  # generation, prompt, answer


def body(model: str, prompt: str, stream: bool) -> dict[str, object]:
    return {
        "model": model,
        "prompt": prompt,
        "max_tokens": 24,
        "ignore_eos": True,
        "temperature": 0,
        "stream": stream,
    }


async def ask(client: httpx.AsyncClient, model: str, prompt: str) -> Said:
    response = await client.post("/v1/completions", json=body(model, prompt, stream=False))
    assert response.status_code == 200, response.text
    answer = response.json()
    assert response.headers[GENERATION] in answer["system_fingerprint"]
    return response.headers[GENERATION], prompt, answer["choices"][0]["text"]


async def ask_streaming(client: httpx.AsyncClient, model: str, prompt: str) -> Said:
    text, fingerprints = "", set()
    async with client.stream("POST", "/v1/completions", json=body(model, prompt, stream=True)) as response:
        assert response.status_code == 200, await response.aread()
        generation = response.headers[GENERATION]
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                event = json.loads(line.removeprefix("data: "))
                fingerprints.add(event["system_fingerprint"])
                text += "".join(choice["text"] for choice in event["choices"])
    (fingerprint,) = fingerprints
    assert generation in fingerprint
    return generation, prompt, text


async def keep_asking(client: httpx.AsyncClient, number: int, said: list[Said], done: asyncio.Event) -> None:
    while not done.is_set():
        number += 1
        each = ask if number % 2 else ask_streaming
        said.append(await each(client, "hot", PROMPTS[number // 2 % len(PROMPTS)]))


Replace = Callable[[Path, str], None]


def replace_file(root: Path, version: str) -> None:
    """The way of a trainer that writes beside the file and renames it."""
    fresh = root / "hot" / ".fresh"
    shutil.copy(root / version / TENSOR_FILE, fresh)
    os.replace(fresh, root / "hot" / TENSOR_FILE)


def replace_link(root: Path, version: str) -> None:
    """The way of a deployment that keeps every version and moves a link."""
    fresh = root / ".fresh"
    fresh.symlink_to(version)
    os.replace(fresh, root / "hot")


def write_versions(root: Path) -> None:
    upper = DEMO / "adapters" / "upper"
    tensors = load_file(upper / TENSOR_FILE)
    for version, factor in FACTORS.items():
        shutil.copytree(upper, root / version)
        scaled = {name: tensor * (factor if "lora_B" in name else 1.0) for name, tensor in tensors.items()}
        save_file(scaled, root / version / TENSOR_FILE)


async def under_load(server: Server, root: Path, replace: Replace, replacements: int) -> tuple[set[Said], list[Said]]:
    async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
        alone = {await ask(client, version, prompt) for version in VERSIONS for prompt in PROMPTS}
        done, said, replaced = asyncio.Event(), list[Said](), 0
        clients = [asyncio.create_task(keep_asking(client, number, said, done)) for number in range(CLIENTS)]
        deadline = time.monotonic() + LIMIT_S
        # Clients that ask in step could always meet the same versions.
        while replaced < replacements or len(said) < ANSWERS or len({each[0] for each in said}) < len(VERSIONS):
            if any(task.done() for task in clients) or time.monotonic() > deadline:
                break
            replaced += 1
            replace(root, VERSIONS[replaced % len(VERSIONS)])
            await asyncio.sleep(PAUSE_S)
        done.set()
        await asyncio.gather(*clients)
        return alone, said


@pytest.mark.parametrize("replace", [replace_file, replace_link])
def test_every_answer_is_wholly_of_one_version(tmp_path: Path, replace: Replace, pytestconfig: pytest.Config) -> None:
    root, replacements = tmp_path / "adapters", REPLACEMENTS[pytestconfig.getoption("exhaustive")]
    write_versions(root)
    if replace is replace_file:
        shutil.copytree(root / VERSIONS[0], root / "hot")
    else:
        replace_link(root, VERSIONS[0])
    arguments = ["serve", str(DEMO / "base"), "--adapters", str(root), "--dtype", "float32", "--no-request-log"]
    with serving(arguments, tmp_path / "log") as server:
        alone, said = asyncio.run(under_load(server, root, replace, replacements))
        seen = Counter(generation for generation, _, _ in said)
        assert set(said) <= alone
        assert len(seen) == len(VERSIONS), seen
        assert "Traceback" not in server.log.read_text()

"""What tests of the API start from: a small tokenizer, a folder of adapters, an app, and eyes for its streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from loraplex_server.api.adapters.catalogue import build_catalog
from loraplex_server.api.app import create_app
from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.batch.state.state import State
from loraplex_server.settings import ServeSettings
from loraplex_server.tracing.interface import Tracing
from support.fake_engine import FakeEngine

SPECIAL = ["<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('no role ' + m['role']) }}{% endif %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
LIMIT_S = 240.0  # only what never comes takes so long
CORPUS = ["the quick brown fox jumps over the lazy dog", "hello world, hello there", "stop here and there"] * 4


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE: words of the corpus are few tokens, any other character is its bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>", chat_template=TEMPLATE
    )


def build_renderer() -> Renderer:
    tokenizer = build_tokenizer()
    return Renderer(tokenizer, [tokenizer.eos_token_id])


def write_adapters(root: Path, *names: str) -> Path:
    for name in names:
        folder = root / name
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text("{}")
        (folder / "adapter_model.safetensors").write_bytes(b"")
    return root


class Api:
    """An app over a fake engine, and how to ask it."""

    def __init__(
        self,
        engine: FakeEngine,
        renderer: Renderer,
        adapters: Path,
        state: State | None = None,
        tracing: Tracing | None = None,
        **settings: Any,
    ) -> None:
        self.engine = engine
        self.renderer = renderer
        self.settings = ServeSettings(model="test-model", adapters=adapters, **settings)
        self.catalog = build_catalog(self.settings)
        self.app = create_app(self.settings, engine, renderer, self.catalog, state=state, tracing=tracing)
        self.services = self.app.state.services

    def with_template(self, template: str | dict[str, str] | None, *marks: str, **settings: Any) -> Api:
        """The same engine, with another chat template, and these special tokens beside."""
        tokenizer = build_tokenizer()
        tokenizer.add_tokens(list(marks), special_tokens=True)
        tokenizer.chat_template = template
        renderer = Renderer(tokenizer, [tokenizer.eos_token_id])
        return Api(self.engine, renderer, self.settings.adapters, **settings)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://test")

    async def get(self, path: str, **headers: str) -> httpx.Response:
        async with self.client() as client:
            return await client.get(path, headers=headers)

    async def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
        async with self.client() as client:
            return await client.post(path, json=body, headers=headers)

    async def ask(self, method: str, path: str, body: Any = None, key: str | None = "admin") -> httpx.Response:
        """With the admin key, unless told otherwise."""
        async with self.client() as client:
            headers = {} if key is None else {"authorization": f"Bearer {key}"}
            return await client.request(method, path, json=body, headers=headers)

    async def complete(self, body: Any, **headers: str) -> httpx.Response:
        return await self.post("/v1/completions", body, headers)

    async def chat(self, body: Any, **headers: str) -> httpx.Response:
        if "messages" not in body:
            body = {"messages": [{"role": "user", "content": "hello"}], **body}
        return await self.post("/v1/chat/completions", body, headers)


async def until(condition: Callable[[], Any], seconds: float = LIMIT_S) -> None:
    """Wait for something that somebody else brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it never happened")
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def serve_app(api: Api) -> AsyncIterator[str]:
    """The app on a real socket; its URL."""
    config = uvicorn.Config(api.app, http="httptools", access_log=False, log_config=None, timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


def events(text: str) -> list[Any]:
    """Bodies of a stream's events; every stream ends in one [DONE]."""
    blocks = text.split("\n\n")
    assert blocks[-1] == ""
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks[:-1])
    payloads = [block.removeprefix("data: ") for block in blocks[:-1]]
    assert payloads[-1] == "[DONE]"
    assert payloads.count("[DONE]") == 1
    return [json.loads(payload) for payload in payloads[:-1]]


def named_events(text: str) -> list[tuple[str, Any]]:
    """Names and bodies of a stream's events, where the API gives them names and ends without a mark."""
    blocks = text.split("\n\n")
    assert blocks[-1] == ""
    found = []
    for block in blocks[:-1]:
        name, data = block.split("\n")
        assert name.startswith("event: ")
        assert data.startswith("data: ")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
        assert found[-1][1]["type"] == found[-1][0]
    return found


def streamed_text(chunks: list[Any], index: int = 0) -> str:
    """The text of one choice of a stream, of chats or completions."""
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ()) if choice["index"] == index]
    return "".join(c["text"] if "text" in c else c["delta"].get("content", "") for c in choices)

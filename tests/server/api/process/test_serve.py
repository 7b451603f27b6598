"""The whole server, put together and taken down, with the engine process replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.api import build_tokenizer
from support.fake_engine import INFO, FakeEngine

from loraplex_server.api.process import serve
from loraplex_server.api.process.start_error import StartError
from loraplex_server.api.rendering.renderer import RendererError, load_renderer
from loraplex_server.engine.errors import EngineStartError
from loraplex_server.settings import ServeSettings

pytestmark = pytest.mark.usefixtures("root_logger")


class Client(FakeEngine):
    """What serve needs of an EngineClient."""

    reason: str | None = None
    loading: asyncio.Event | None = None
    closed = 0

    def __init__(self, config: Any) -> None:
        super().__init__(lambda request, index: [10, 11])
        self.config = config
        self.info, self.healthy = None, False
        type(self).last = self

    async def start(self) -> Any:
        if self.loading is not None:
            await self.loading.wait()
        if self.reason is not None:
            raise EngineStartError(self.reason)
        self.info, self.healthy = INFO, True
        return INFO

    async def close(self) -> None:
        self.closed += 1
        self.healthy = False


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "small-model"
    build_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama", "eos_token_id": [7, 8]}')
    (folder / "generation_config.json").write_text('{"eos_token_id": 9}')
    return folder


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    class Fresh(Client):
        pass

    monkeypatch.setattr(serve, "EngineClient", Fresh)
    return Fresh


def settings_for(model: Path, **more: Any) -> ServeSettings:
    return ServeSettings(model=str(model), **{"port": 0, "log_level": "error", **more})


def test_it_serves_until_a_signal_ends_it(model: Path, adapters: Path, client: type[Client]) -> None:
    seen: dict[str, Any] = {}

    async def visit(url: str) -> None:
        async with httpx.AsyncClient(base_url=url) as visitor:
            seen["ready"] = (await visitor.get("/ready")).status_code
            seen["models"] = [card["id"] for card in (await visitor.get("/v1/models")).json()["data"]]
            seen["answer"] = (await visitor.post("/v1/completions", json={"prompt": "x", "max_tokens": 2})).json()
        os.kill(os.getpid(), signal.SIGTERM)

    def on_ready(url: str, info: Any) -> None:
        seen["info"] = info
        seen["visit"] = asyncio.get_running_loop().create_task(visit(url))

    settings = settings_for(model, adapters=adapters, max_num_seqs=3, kv_cache_memory="1MiB")
    serve.run(settings, on_ready)
    assert seen["visit"].exception() is None
    assert seen["ready"] == 200
    assert seen["models"] == ["small-model", "alpha", "beta", "gamma"]
    assert seen["answer"]["usage"]["completion_tokens"] == 2
    assert seen["info"] is INFO
    assert (client.last.config.max_num_seqs, client.last.config.kv_cache_memory) == (3, 2**20)
    assert client.last.closed >= 1
    assert client.last.requests[0].sampling.stop_token_ids == (1, 7, 8, 9)


async def test_while_the_model_loads_it_listens_and_is_not_ready(model: Path, client: type[Client]) -> None:
    client.loading = asyncio.Event()
    with serve._bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        ready: list[str] = []
        task = asyncio.create_task(serve._serve(settings_for(model), listener, lambda url, info: ready.append(url)))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as visitor:
            while not task.done():
                try:
                    statuses = [(await visitor.get(path)).status_code for path in ("/ready", "/health")]
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.02)
            refused = await visitor.post("/v1/completions", json={"prompt": "x"})
            assert (statuses, refused.status_code) == ([503, 503], 503)
            assert ready == []
            client.loading.set()
            while (await visitor.get("/ready")).status_code != 200:
                assert not task.done()
                await asyncio.sleep(0.02)
        assert ready == [f"http://127.0.0.1:{port}"]
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(task, 60)


def test_an_engine_that_cannot_start_is_the_reason(model: Path, client: type[Client]) -> None:
    client.reason = "--device cuda: there is none"
    with pytest.raises(StartError, match="--device cuda: there is none"):
        serve.run(settings_for(model))
    assert client.last.closed >= 1


def test_a_model_without_a_tokenizer_is_the_reason(tmp_path: Path, client: type[Client]) -> None:
    client.loading = None
    with pytest.raises(StartError, match="tokenizer"):
        serve.run(settings_for(tmp_path))
    assert client.last.closed >= 1


def test_an_address_in_use_is_the_reason(model: Path, client: type[Client]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(StartError, match="cannot listen on 127"):
        serve.run(settings_for(model, port=taken.getsockname()[1]))
    with pytest.raises(StartError, match="cannot listen"):
        serve.run(settings_for(model, host="no.such.host.invalid"))


def test_a_state_folder_that_cannot_be_used_is_the_reason(model: Path, tmp_path: Path, client: type[Client]) -> None:
    (tmp_path / "adapters.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StartError, match="--state-dir: "):
        serve.run(settings_for(model, state_dir=tmp_path))


def test_a_cache_folder_that_cannot_be_used_is_the_reason(model: Path, client: type[Client]) -> None:
    with pytest.raises(StartError, match="--adapter-cache /proc/none cannot be used"):
        serve.run(settings_for(model, allow_adapter_source=["org/*"], adapter_cache="/proc/none"))


def test_end_tokens_come_from_all_files_of_a_model(model: Path) -> None:
    assert load_renderer(str(model)).end_tokens == (1, 7, 8, 9)
    (model / "generation_config.json").unlink()
    assert load_renderer(str(model)).end_tokens == (1, 7, 8)
    for file in model.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(RendererError):
        load_renderer(str(model))


async def test_the_renderer_agrees_with_transformers(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoTokenizer

    from loraplex_server.api.schemas.chat import Conversation

    oracle: Callable[..., Any] = AutoTokenizer.from_pretrained(model).apply_chat_template
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "héllo <|end|> 日本"}]
    ids = await load_renderer(str(model)).encode_chat(Conversation.model_validate({"messages": messages}))
    assert ids == oracle(messages, add_generation_prompt=True, return_dict=False)

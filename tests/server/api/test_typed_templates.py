"""Responses and messages are read by the template and tokenizer that came with the adapter, counted ones too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.api import Api, build_tokenizer

MESSAGES = [{"role": "user", "content": "hello"}]
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/responses": {"input": "hello"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 9},
}
COUNTERS: dict[str, dict[str, Any]] = {
    "/v1/responses/input_tokens": {"input": "hello"},
    "/v1/messages/count_tokens": {"messages": MESSAGES},
}


@pytest.fixture
def own_template(adapters: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}so he said {{ m['content'] }}{% endfor %}"
    tokenizer.save_pretrained(adapters / "alpha")


@pytest.mark.usefixtures("own_template")
@pytest.mark.parametrize("path", ROUTES)
async def test_an_adapters_own_template_writes_the_prompt(api: Api, path: str) -> None:
    for model, prompt in (("alpha", "so he said hello"), ("beta", "<|user|>hello<|end|><|assistant|>")):
        response = await api.post(path, {"model": model, **ROUTES[path]})
        assert response.status_code == 200, response.text
        assert api.renderer.decode(api.engine.requests[-1].prompt_token_ids, skip_special_tokens=False) == prompt


@pytest.mark.usefixtures("own_template")
@pytest.mark.parametrize("path", COUNTERS)
async def test_an_adapters_own_template_is_what_is_counted(api: Api, path: str) -> None:
    counts = [(await api.post(path, {"model": model, **COUNTERS[path]})).json() for model in ("alpha", "beta")]
    expected = [api.renderer.tokenizer.encode(text).ids for text in ("so he said hello", "<|user|>hello<|end|>x")]
    assert [body["input_tokens"] for body in counts] == [len(ids) for ids in expected]

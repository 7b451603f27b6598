"""LangChain, LiteLLM and npm's openai get from an adapter what the plain protocol gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.servers import Server

ADAPTER = "reverse"


@pytest.fixture
def prompt(heldout: dict[str, list[dict[str, str]]]) -> str:
    return heldout[ADAPTER][3]["prompt"]


@pytest.fixture
def expected(demo: Server, prompt: str) -> str:
    body = {"model": ADAPTER, "messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": 48}
    return demo.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"]


def test_langchain(demo: Server, program: Callable[..., Any], prompt: str, expected: str) -> None:
    found = program("langchain", "use_langchain.py", demo.url, ADAPTER, prompt)
    assert {found["invoke"], found["stream"], found["ainvoke"], *found["batch"], *found["responses"]} == {expected}
    assert found["usage"][0] == found["usage"][1] > 0
    assert found["finish"] == "stop"
    assert isinstance(found["completion"], str)
    assert set(found["structured"]) == {"word", "count"}
    assert 0 <= found["structured"]["count"] <= 9


def test_litellm(demo: Server, program: Callable[..., Any], prompt: str, expected: str) -> None:
    found = program("litellm", "use_litellm.py", demo.url, ADAPTER, prompt)
    for provider in ("openai", "hosted_vllm", "anthropic"):
        assert {found[provider][way] for way in ("whole", "stream", "later")} == {expected}
        assert found[provider]["usage"] > 0
        assert found[provider]["error"] == "NotFoundError"
    assert isinstance(found["text"], str)


def test_openai_of_npm(demo: Server, program: Callable[..., Any], prompt: str, expected: str) -> None:
    found = program("openai-npm", "use_openai.mjs", demo.url, ADAPTER, prompt)
    assert {found["whole"], found["stream"], found["gathered"], *found["responses"]} == {expected}
    assert found["usage"][0] == found["usage"][1] > 0
    assert found["logprobs"] == 4
    assert ADAPTER in found["models"]
    assert found["error"] == "NotFoundError model"

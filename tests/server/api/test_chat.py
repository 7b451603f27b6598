from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.api import Api, events, streamed_text
from support.fake_engine import FakeEngine

from loraplex_server.api.rendering.renderer import Renderer

Says = Callable[..., FakeEngine]


async def test_a_chat_has_openai_shape(api: Api, says: Says) -> None:
    says("hello there")
    body = (await api.chat({"model": "test-model"})).json()
    assert body.pop("id").startswith("chatcmpl-")
    assert body.pop("created") > 1_700_000_000
    assert body.pop("usage")["completion_tokens"] == len(api.renderer.tokenizer.encode("hello there").ids) + 1
    assert body.pop("system_fingerprint").startswith("loraplex-")
    assert body == {
        "object": "chat.completion",
        "model": "test-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hello there", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
                "stop_reason": None,
            }
        ],
    }


async def test_a_stream_opens_with_the_role_and_closes_with_the_reason(api: Api, says: Says) -> None:
    says("hello there")
    response = await api.chat({"stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    chunks = events(response.text)
    envelope = {key: chunks[0][key] for key in ("id", "created", "model", "system_fingerprint")}
    for chunk in chunks:
        assert chunk["object"] == "chat.completion.chunk"
        assert {key: chunk[key] for key in envelope} == envelope
        assert "usage" not in chunk
        assert len(chunk["choices"]) == 1
    deltas = [chunk["choices"][0] for chunk in chunks]
    assert deltas[0] == {
        "index": 0,
        "delta": {"role": "assistant", "content": ""},
        "logprobs": None,
        "finish_reason": None,
    }
    assert deltas[-1] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop", "stop_reason": None}
    assert all(set(delta["delta"]) == {"content"} and delta["delta"]["content"] for delta in deltas[1:-1])
    assert streamed_text(chunks) == "hello there"


async def test_usage_comes_last_when_it_is_asked_for(api: Api, says: Says) -> None:
    says("hello there")
    chunks = events((await api.chat({"stream": True, "stream_options": {"include_usage": True}})).text)
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == (await api.chat({})).json()["usage"]


async def test_usage_can_run_along(api: Api, says: Says) -> None:
    says("hello there")
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = events((await api.chat({"stream": True, "stream_options": options})).text)
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[0] == 1
    assert counts[-1] == len(api.renderer.tokenizer.encode("hello there").ids) + 1


@pytest.mark.parametrize("text", ["hello 日本語 😀 there", "", "\n\n", "stop here and there"])
@pytest.mark.parametrize("extra", [{}, {"logprobs": True, "top_logprobs": 3}, {"n": 3}, {"return_token_ids": True}])
@pytest.mark.parametrize("per_delta", [1, 2, 100])
async def test_a_stream_adds_up_to_the_whole(
    api: Api, says: Says, text: str, extra: dict[str, Any], per_delta: int
) -> None:
    says(text).per_delta = per_delta
    whole = (await api.chat(extra)).json()
    chunks = events((await api.chat({**extra, "stream": True})).text)
    for choice in whole["choices"]:
        parts = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
        assert "".join(part["delta"].get("content", "") for part in parts) == choice["message"]["content"] == text
        assert [part["finish_reason"] for part in parts if part["finish_reason"]] == [choice["finish_reason"]]
        if extra.get("logprobs"):
            content = [entry for part in parts if part["logprobs"] for entry in part["logprobs"]["content"]]
            assert content == choice["logprobs"]["content"]
        if extra.get("return_token_ids"):
            assert [id for part in parts for id in part.get("token_ids", [])] == choice["token_ids"]
            assert parts[0]["prompt_token_ids"] == whole["prompt_token_ids"]


async def test_logprobs_give_the_exact_bytes_of_partial_characters(api: Api, says: Says) -> None:
    says("é")
    content = (await api.chat({"logprobs": True})).json()["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in content] == ["\ufffd", "\ufffd", "<|end|>"]
    assert bytes(content[0]["bytes"] + content[1]["bytes"]).decode() == "é"
    assert all(entry["top_logprobs"] == [] for entry in content)
    content = (await api.chat({"logprobs": True, "top_logprobs": 2})).json()["choices"][0]["logprobs"]["content"]
    assert [len(entry["top_logprobs"]) for entry in content] == [2, 2, 2]
    assert set(content[0]["top_logprobs"][0]) == {"token", "logprob", "bytes"}
    assert api.engine.requests[-1].sampling.logprobs == 2


async def test_an_answer_may_fill_the_context(api: Api, says: Says) -> None:
    says("x")
    await api.chat({})
    await api.chat({"max_tokens": 5})
    await api.chat({"max_completion_tokens": 6})
    await api.chat({"max_completion_tokens": 7, "max_tokens": 7})
    limits = [request.sampling.max_tokens for request in api.engine.requests]
    assert limits == [256 - len(api.engine.requests[0].prompt_token_ids), 5, 6, 7]


@pytest.mark.parametrize(
    ("messages", "rendered"),
    [
        ([("user", "hello")], "<|user|>hello<|end|><|assistant|>"),
        ([("system", "be"), ("user", "x")], "<|system|>be<|end|><|user|>x<|end|><|assistant|>"),
        ([("developer", "be"), ("user", "x")], "<|system|>be<|end|><|user|>x<|end|><|assistant|>"),
        (
            [("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])],
            "<|user|>a\nb<|end|><|assistant|>",
        ),
    ],
)
async def test_messages_go_through_the_template(api: Api, says: Says, messages: list[Any], rendered: str) -> None:
    says("x")
    await api.chat({"messages": [{"role": role, "content": content} for role, content in messages]})
    ids = api.engine.requests[0].prompt_token_ids
    assert api.renderer.decode(ids, skip_special_tokens=False) == rendered


async def test_the_last_message_can_be_continued(api: Api, says: Says) -> None:
    says("x")
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello wo"}]
    await api.chat({"messages": messages, "continue_final_message": True})
    await api.chat({"messages": messages, "add_generation_prompt": False})
    shown = [api.renderer.decode(r.prompt_token_ids, skip_special_tokens=False) for r in api.engine.requests]
    assert shown == ["<|user|>hi<|end|><|assistant|>hello wo", "<|user|>hi<|end|><|assistant|>hello wo<|end|>"]


async def test_what_the_template_refuses_is_a_400(api: Api) -> None:
    message = {"role": "tool", "content": "42", "tool_call_id": "1"}
    response = await api.chat({"messages": [message]})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "messages"
    assert "no role tool" in response.json()["error"]["message"]


async def test_a_role_that_the_template_drops_is_refused_not_lost(api: Api) -> None:
    lossy = api.with_template("{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}")
    messages = [{"role": "system", "content": "important"}, {"role": "user", "content": "x"}]
    response = await lossy.chat({"messages": messages})
    assert response.status_code == 400
    assert "'system'" in response.json()["error"]["message"]


async def test_a_model_without_a_template_says_so(api: Api) -> None:
    response = await api.with_template(None).chat({})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "no_chat_template"


async def test_a_long_conversation_leaves_the_event_loop_free(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    threads = []
    render = Renderer._render

    def watched(self: Renderer, conversation: Any) -> str:
        threads.append(threading.current_thread() is threading.main_thread())
        return render(self, conversation)

    monkeypatch.setattr(Renderer, "_render", watched)
    assert (await api.chat({"messages": [{"role": "user", "content": "short"}]})).status_code == 200
    long = await api.chat({"messages": [{"role": "user", "content": "long " * 2000}]})
    assert long.json()["error"]["code"] == "context_length_exceeded"
    assert threads == [True, False]

"""Everything that can go wrong, in the envelope, with its status."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from support.api import Api, events
from support.fake_engine import FakeEngine

from loraplex_server.api.answers.answer import Answer, Piece
from loraplex_server.engine.interface import (
    AdapterUnusableError,
    DeadlineExceededError,
    EngineDeadError,
    EngineError,
    InvalidRequestError,
    QueueFullError,
)
from loraplex_server.engine.messages import Delta

Says = Callable[..., FakeEngine]

FAILURES = [
    (
        AdapterUnusableError("adapter 'alpha' is refused: rank"),
        400,
        "invalid_request_error",
        "model",
        "adapter_refused",
    ),
    (InvalidRequestError("no"), 400, "invalid_request_error", None, None),
    (QueueFullError("full", 7), 429, "rate_limit_error", None, "queue_full"),
    (DeadlineExceededError("late"), 408, "timeout_error", None, "deadline_exceeded"),
    (EngineDeadError("restarting"), 503, "server_error", None, "engine_unavailable"),
    (EngineError("odd"), 500, "server_error", None, "engine_error"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("failure", "status", "type", "param", "code"), FAILURES)
async def test_a_failure_before_the_first_token_has_its_own_status(
    api: Api, failure: EngineError, status: int, type: str, param: str | None, code: str | None, stream: bool
) -> None:
    api.engine.failure = failure
    response = await api.complete({"prompt": "x", "stream": stream})
    assert response.status_code == status
    assert response.json() == {"error": {"message": str(failure), "type": type, "param": param, "code": code}}
    assert ("retry-after" in response.headers) == (status in (429, 503))
    if status == 429:
        assert response.headers["retry-after"] == "7"


@pytest.mark.parametrize("after", [1, 3])
@pytest.mark.parametrize(("failure", "status", "type", "param", "code"), FAILURES)
async def test_a_failure_in_a_stream_is_its_last_event(
    api: Api, says: Says, failure: EngineError, status: int, type: str, param: str | None, code: str, after: int
) -> None:
    says("hello there world stop")
    api.engine.failure, api.engine.fail_after = failure, after
    response = await api.chat({"stream": True, "stream_options": {"include_usage": True}})
    assert response.status_code == 200
    *chunks, last = events(response.text)
    assert last == {"error": {"message": str(failure), "type": type, "param": param, "code": code}}
    assert chunks
    assert all("error" not in chunk and chunk["choices"][0]["finish_reason"] is None for chunk in chunks)


async def test_a_failure_in_a_whole_answer_has_its_status(api: Api, says: Says) -> None:
    says("hello there")
    api.engine.failure, api.engine.fail_after = EngineDeadError("gone"), 2
    response = await api.chat({})
    assert (response.status_code, response.json()["error"]["message"]) == (503, "gone")


@pytest.mark.parametrize("stream", [False, True])
async def test_what_nobody_expected_is_a_500_that_tells_nothing(
    api: Api, says: Says, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    says("hello")
    api.engine.failure = RuntimeError("secret detail")
    response = await api.chat({"stream": stream}, **{"x-request-id": "find-me"})
    assert response.status_code == 500
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert "find-me" in error["message"]
    assert "secret" not in response.text
    (logged,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "find-me" in logged.getMessage()
    assert logged.exc_info is not None


async def test_what_nobody_expected_ends_a_stream_with_an_error(
    api: Api, says: Says, caplog: pytest.LogCaptureFixture
) -> None:
    says("hello there")
    api.engine.failure, api.engine.fail_after = RuntimeError("secret detail"), 2
    response = await api.chat({"stream": True})
    assert events(response.text)[-1]["error"]["code"] == "internal_error"
    assert "secret" not in response.text
    assert any("secret" in str(record.exc_info) for record in caplog.records)


async def test_a_prompt_that_is_too_long_is_told_both_lengths(api: Api) -> None:
    response = await api.complete({"prompt": [5] * 256})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "prompt")
    assert error["message"].count("256") == 2


async def test_an_answer_that_would_not_fit_is_told_all_lengths(api: Api) -> None:
    response = await api.complete({"prompt": [5] * 200, "max_tokens": 57})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "context_length_exceeded")
    assert all(number in error["message"] for number in ("256", "200", "57"))
    assert (await api.complete({"prompt": [5] * 200, "max_tokens": 56})).status_code == 200
    assert (await api.complete({"prompt": [5] * 256, "max_tokens": 0, "echo": True})).status_code == 200


async def raw(api: Api, content: bytes, **headers: str) -> Any:
    headers = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    async with api.client() as client:
        return await client.post("/v1/completions", content=content, headers=headers)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b'{"prompt": "x"', b"[]", b'"x"', b"5", b"null", b"\x00", b"[" * 100_000),
        *(b'{"prompt": "\xff"}', b'{"prompt": "\\ud800"}', b'{"prompt": "x"} extra'),
    ],
)
async def test_a_body_that_is_no_json_object_is_a_400(api: Api, content: bytes) -> None:
    response = await raw(api, content)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")
    assert len(response.content) < 600


@pytest.mark.parametrize("type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_a_body_of_another_type_is_a_415(api: Api, type: str) -> None:
    response = await raw(api, b'{"prompt": "x"}', content_type=type)
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"])
async def test_json_has_several_names(api: Api, type: str) -> None:
    assert (await raw(api, b'{"prompt": "x"}', content_type=type)).status_code == 200


async def test_a_compressed_body_is_a_415(api: Api) -> None:
    assert (await raw(api, b'{"prompt": "x"}', content_encoding="gzip")).status_code == 415


async def test_a_large_body_is_a_413_however_it_comes(make_api: Callable[..., Api]) -> None:
    api = make_api(max_body_size="1KiB")
    fits, large = ({"prompt": "x", "user": "u" * size} for size in (900, 1100))
    assert (await api.complete(fits)).status_code == 200

    async def chunks() -> Any:
        for byte in json.dumps(large).encode():
            yield bytes([byte])

    async with api.client() as client:
        chunked = await client.post("/v1/completions", content=chunks(), headers={"content-type": "application/json"})
    for response in (await api.complete(large), chunked):
        assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")
        assert response.headers["connection"] == "close"


async def test_errors_of_many_faults_are_bounded(api: Api) -> None:
    messages = [{"role": "x" * 10_000, "content": 5}] * 100
    response = await api.chat({"messages": messages, "temperature": "y" * 100_000})
    assert response.status_code == 400
    assert len(response.content) < 6000
    assert "and 291 more" in response.json()["error"]["message"]


async def test_an_unknown_field_with_a_huge_name_is_bounded(api: Api) -> None:
    response = await api.complete({"prompt": "x", "z" * 100_000: 1})
    assert response.status_code == 400
    assert len(response.content) < 1000


async def test_unknown_paths_and_methods_are_in_the_envelope_too(api: Api) -> None:
    for path, status, code in (
        ("/nowhere", 404, "unknown_url"),
        ("/v1/completions", 405, "method_not_allowed"),
        ("/v1/completions/", 404, "unknown_url"),
    ):
        response = await api.get(path)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert (await api.get("/v1/completions")).headers["allow"] == "POST"


async def test_before_the_model_is_loaded_requests_are_told_to_wait(api: Api) -> None:
    api.engine.info, api.engine.healthy = None, False
    for response in (
        await api.complete({"prompt": "x"}),
        await api.chat({}),
        await api.post("/tokenize", {"prompt": ""}),
    ):
        assert (response.status_code, response.json()["error"]["code"]) == (503, "loading")
        assert int(response.headers["retry-after"]) >= 1
    assert (await api.get("/v1/models")).status_code == 200
    assert (await api.get("/metrics")).status_code == 200


async def test_an_engine_that_ends_a_request_without_finishing_it_is_an_error(api: Api, says: Says) -> None:
    says("hello")

    async def broken(request: Any) -> Any:
        for delta in FakeEngine(api.engine.script)._deltas(request, 0)[:1]:
            yield delta

    api.engine.generate = broken
    assert (await api.chat({})).status_code == 500
    assert "without finishing" in events((await api.chat({"stream": True})).text)[-1]["error"]["message"]


@pytest.mark.parametrize("prompt", ["one", ["several", "prompts"]])
async def test_work_that_is_cancelled_from_below_is_answered(api: Api, prompt: str | list[str]) -> None:
    api.engine.failure = asyncio.CancelledError()
    response = await asyncio.wait_for(api.complete({"prompt": prompt}), 60)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_unavailable")


async def test_a_client_that_leaves_in_its_body_is_logged_as_cancelled(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "query_string": b"", "headers": headers}
    await api.app(scope, receive, send)
    assert sent[0]["status"] == 499
    assert scope["state"]["record"].outcome == "cancelled"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_an_answer_that_fails_at_its_first_token_keeps_its_error(
    api: Api, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    says("hello")

    def broken(self: Answer, delta: Delta) -> Piece:
        raise EngineError("odd")

    monkeypatch.setattr(Answer, "take", broken)
    response = await api.complete({"prompt": "x"})
    assert (response.status_code, response.json()["error"]["message"]) == (500, "odd")


@pytest.mark.parametrize("separator", [", ", "_"])
async def test_a_long_refusal_is_cut_and_whole_in_the_log(
    api: Api, caplog: pytest.LogCaptureFixture, separator: str
) -> None:
    whole = "adapter 'alpha' is refused: " + separator.join(f"tensor{number}" for number in range(10_000))
    api.engine.failure = AdapterUnusableError(whole)
    with caplog.at_level(logging.WARNING):
        message = (await api.complete({"prompt": "x"})).json()["error"]["message"]
    shown, _, rest = message.partition(" ... and ")
    assert len(message) < 2100
    assert whole.startswith(shown)
    assert int(rest.split()[0]) == len(whole) - len(shown)
    assert [whole in record.getMessage() for record in caplog.records].count(True) == 1

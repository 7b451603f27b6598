"""Another API's form and envelope over the same machinery as OpenAI's."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from fastapi import Request, Response
from support.api import Api
from support.fake_engine import FakeEngine

from loraplex_adapters.errors import AdapterChangedError
from loraplex_server.api.answers.addressee import addressee_of
from loraplex_server.api.answers.answer import Piece, Prompt
from loraplex_server.api.answers.jobs import make_generation
from loraplex_server.api.answers.reply import reply
from loraplex_server.api.errors import ApiError
from loraplex_server.api.forms.event import encode_json, event
from loraplex_server.api.forms.form import Form
from loraplex_server.api.record import record_of
from loraplex_server.api.schemas.chat import ChatRequest

Says = Callable[..., FakeEngine]


class NamedForm(Form):
    """Events with names, several a piece, no [DONE]."""

    prefix = "named-"

    def response(self, pieces: list[Piece]) -> bytes:
        return encode_json({"texts": [piece.text for piece in pieces]})

    def events(self, pieces: list[Piece]) -> bytes:
        return b"".join(event({"delta": piece.text}, "delta") + event({}, "ping") for piece in pieces if piece.text)

    def closing(self) -> bytes:
        return event({"type": "stop"}, "stop")

    def failure(self, error: ApiError) -> bytes:
        return event({"said": error.message}, "error")


@pytest.fixture
def named(api: Api) -> Api:
    """An app with a route of its own."""

    async def route(request: Request) -> Response:
        body = ChatRequest.model_validate({"messages": [{"role": "user", "content": "hello"}]})
        to = await addressee_of(request, "")
        prompt = Prompt(await to.renderer.encode_chat(body))
        work = [(prompt, to.limits.chat(body, len(prompt.token_ids)))]
        generation = make_generation(api.services, record_of(request), to, body, NamedForm.new_id(), work)
        return await reply(request, generation, NamedForm(), "stream" in request.query_params)

    api.app.add_api_route("/named", route, methods=["POST"])
    return api


def blocks(text: str) -> list[tuple[str, str]]:
    """Names and data of a stream's events."""
    found = [block.split("\n") for block in text.removesuffix("\n\n").split("\n\n")]
    return [(name.removeprefix("event: "), data.removeprefix("data: ")) for name, data in found]


async def test_a_form_says_all_that_is_in_its_stream(named: Api, says: Says) -> None:
    says("hello there")
    assert (await named.post("/named", {})).json() == {"texts": ["hello there"]}
    found = blocks((await named.post("/named?stream", {})).text)
    assert "".join(json.loads(data)["delta"] for name, data in found if name == "delta") == "hello there"
    assert [name for name, _ in found if name != "delta"] == ["ping"] * (len(found) // 2) + ["stop"]


async def test_a_form_writes_what_went_wrong_in_its_stream(named: Api, says: Says) -> None:
    engine = says("hello there")
    engine.fail_after, engine.failure = 2, AdapterChangedError("it was replaced")
    found = blocks((await named.post("/named?stream", {})).text)
    assert found[-1] == ("error", '{"said":"it was replaced"}')
    assert "stop" not in dict(found)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/nothing", {"error": {"type": "invalid_request_error", "param": None, "code": "unknown_url"}}),
        ("/v1/messages/nothing", {"type": "error", "error": {"type": "not_found_error"}}),
        ("/generate/nothing", {"error_type": "validation"}),
    ],
)
async def test_an_error_is_in_the_envelope_of_the_api_that_was_asked(api: Api, path: str, expected: object) -> None:
    body = (await api.post(path, {})).json()
    message = body["error"].pop("message") if isinstance(body["error"], dict) else body.pop("error")
    assert message == f"There is no {path}"
    assert body == expected


async def test_a_missing_key_is_told_in_the_envelope_of_the_api_that_was_asked(
    make_api: Callable[..., Api],
) -> None:
    guarded = make_api(api_key=["secret"])
    body = (await guarded.post("/v1/messages", {})).json()
    assert (body["type"], body["error"]["type"]) == ("error", "authentication_error")

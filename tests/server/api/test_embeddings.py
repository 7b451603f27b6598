"""POST /v1/embeddings: OpenAI's body, adapters, and what becomes of the vectors."""

from __future__ import annotations

import asyncio
import base64
import math
from array import array
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from support.api import Api, serve_app, until

from loraplex_server.engine.interface import EngineError


async def embed(api: Api, **body: Any) -> httpx.Response:
    return await api.post("/v1/embeddings", {"input": "hello"} | body)


async def test_a_vector_of_length_one(api: Api) -> None:
    answer = (await embed(api, model="alpha", user="u")).json()
    (entry,) = answer["data"]
    assert (answer["object"], entry["object"], entry["index"], answer["model"]) == ("list", "embedding", 0, "alpha")
    assert math.hypot(*entry["embedding"]) == pytest.approx(1.0)
    (request,) = api.engine.requests
    assert answer["usage"] == {name: len(request.prompt_token_ids) for name in ("prompt_tokens", "total_tokens")}
    assert (request.pooling, request.sampling.max_tokens, request.n) == ("last", 0, 1)
    assert [use.source.name for use in request.adapters] == ["alpha"]


async def test_every_form_of_input(api: Api) -> None:
    for given, count in (("a", 1), (["a", "b"], 2), ([10, 11], 1), ([[10], [11, 12], [13]], 3)):
        answer = (await embed(api, input=given, normalize=False)).json()
        assert [entry["index"] for entry in answer["data"]] == list(range(count))
    assert [entry["embedding"][:2] for entry in answer["data"]] == [[1.0, 10.0], [2.0, 12.0], [1.0, 13.0]]


async def test_a_part_of_a_vector_has_length_one_too(api: Api) -> None:
    answer = (await embed(api, input=[3, 4], dimensions=2)).json()
    assert answer["data"][0]["embedding"] == pytest.approx([2 / math.hypot(2, 4), 4 / math.hypot(2, 4)])
    refused = await embed(api, dimensions=5)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "dimensions")
    assert "have 4" in refused.json()["error"]["message"]


async def test_base64_is_of_little_floats(api: Api) -> None:
    plain = (await embed(api)).json()["data"][0]["embedding"]
    coded = (await embed(api, encoding_format="base64")).json()["data"][0]["embedding"]
    assert array("f", base64.b64decode(coded)).tolist() == plain


async def test_the_request_says_how_or_else_the_server(make_api: Callable[..., Api]) -> None:
    api = make_api(pooling="mean")
    await embed(api)
    await embed(api, pooling="last")
    assert [request.pooling for request in api.engine.requests] == ["mean", "last"]


async def test_adapters_are_summed_as_everywhere(api: Api) -> None:
    await embed(api, adapters=[{"name": "alpha", "weight": 0.5}, {"name": "beta"}])
    await embed(api, lora=[{"id": 1, "scale": 2.0}])
    uses = [[(use.source.name, use.weight) for use in request.adapters] for request in api.engine.requests]
    assert uses == [[("alpha", 0.5), ("beta", 1.0)], [("beta", 2.0)]]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": ""}, 400, "prompt"),
        ({"input": []}, 400, "input"),
        ({"input": [10, "a"]}, 400, "input"),
        ({"input": [10] * 257}, 400, "prompt"),
        ({"input": [600]}, 400, "prompt"),
        ({"model": "nobody"}, 404, "model"),
        ({"encoding_format": "int8"}, 400, "encoding_format"),
        ({"dimensions": 0}, 400, "dimensions"),
        ({"pooling": "cls"}, 400, "pooling"),
        ({"stream": True}, 400, "stream"),
        ({"embed_dtype": "float16"}, 400, "embed_dtype"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(api: Api, body: dict[str, Any], status: int, param: str) -> None:
    refused = await embed(api, **body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param), refused.text
    assert api.engine.requests == []


async def test_an_input_may_fill_the_context_or_be_cut(api: Api) -> None:
    assert (await embed(api, input=[10] * 256)).status_code == 200
    assert (await embed(api, input=[10] * 300, truncate_prompt_tokens=-1)).status_code == 200
    assert len(api.engine.requests[-1].prompt_token_ids) == 256


async def test_a_failure_has_its_status(api: Api) -> None:
    api.engine.failure = EngineError("odd")
    assert (await embed(api)).status_code == 500


async def test_the_openai_client_gets_its_floats(api: Api) -> None:
    async with serve_app(api) as url, AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
        answer = await client.embeddings.create(model="beta", input=["a", "b"])
    plain = (await embed(api, model="beta", input=["a", "b"])).json()
    assert [entry.embedding for entry in answer.data] == [pytest.approx(entry["embedding"]) for entry in plain["data"]]


async def test_a_client_that_hangs_up_ends_its_work(api: Api) -> None:
    api.engine.gate = asyncio.Event()
    async with serve_app(api) as url, httpx.AsyncClient() as client:
        asking = asyncio.create_task(client.post(f"{url}/v1/embeddings", json={"input": ["a", "b"]}))
        await until(lambda: len(api.engine.requests) == 2)
        asking.cancel()
        await until(lambda: len(api.engine.closed_early) == 2)

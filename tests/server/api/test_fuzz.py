"""Whatever JSON comes, the answer is an answer or the sender's error, never ours."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.api import Api

from loraplex_server.api.schemas.chat import ChatRequest
from loraplex_server.api.schemas.completion import CompletionRequest
from loraplex_server.api.schemas.fields import KNOWN

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)
SMALL = st.sampled_from([0, 1, 2, -1, 0.5, "", "x", True, False, None, [], {}, [1], ["x"], {"5": 1}])
FIELDS = sorted(KNOWN | set(CompletionRequest.model_fields) | set(ChatRequest.model_fields))
BODIES = st.dictionaries(st.sampled_from(FIELDS), SMALL | JSON, max_size=4)


def harmless(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != "n"}  # many answers only take time


@pytest.mark.parametrize("endpoint", ["/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES, whole=st.booleans())
def test_no_body_is_our_error(api: Api, endpoint: str, body: dict[str, Any], whole: bool) -> None:
    base = {"prompt": "x"} if endpoint in ("/v1/completions", "/tokenize") else {"tokens": [5]}
    if endpoint == "/v1/chat/completions":
        base = {"messages": [{"role": "user", "content": "x"}]}
    response = asyncio.run(api.post(endpoint, harmless({**base, **body} if whole else body)))
    assert response.status_code in (200, 400, 404), (body, response.text)
    if response.status_code != 200:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
        assert len(response.content) < 10_000

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
from loraplex_server.api.schemas.messages import MessageRequest
from loraplex_server.api.schemas.responses import ResponseRequest

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)
SMALL = st.sampled_from([0, 1, 2, -1, 0.5, "", "x", True, False, None, [], {}, [1], ["x"], {"5": 1}])
REQUESTS = (CompletionRequest, ChatRequest, ResponseRequest, MessageRequest)
FIELDS = sorted(KNOWN.union(*(schema.model_fields for schema in REQUESTS)))
BODIES = st.dictionaries(st.sampled_from(FIELDS), SMALL | JSON, max_size=4)


def harmless(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != "n"}  # many answers only take time


MESSAGES = {"messages": [{"role": "user", "content": "x"}]}
BASES = {
    "/v1/completions": {"prompt": "x"},
    "/v1/chat/completions": MESSAGES,
    "/v1/responses": {"input": "x"},
    "/v1/messages": {**MESSAGES, "max_tokens": 5},
    "/tokenize": {"prompt": "x"},
    "/detokenize": {"tokens": [5]},
}


@pytest.mark.parametrize("endpoint", BASES)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES, whole=st.booleans())
def test_no_body_is_our_error(api: Api, endpoint: str, body: dict[str, Any], whole: bool) -> None:
    response = asyncio.run(api.post(endpoint, harmless({**BASES[endpoint], **body} if whole else body)))
    assert response.status_code in (200, 400, 404), (body, response.text)
    if response.status_code != 200:
        fields = {"type", "message"} if endpoint == "/v1/messages" else {"message", "type", "param", "code"}
        assert set(response.json()["error"]) == fields
        assert len(response.content) < 10_000

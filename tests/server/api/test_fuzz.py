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
from loraplex_server.api.schemas.embedding import EmbeddingRequest
from loraplex_server.api.schemas.fields import KNOWN
from loraplex_server.api.schemas.llama import LlamaRequest
from loraplex_server.api.schemas.lorax import LoraxParameters
from loraplex_server.api.schemas.messages import MessageRequest
from loraplex_server.api.schemas.responses import ResponseRequest

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)
SMALL = st.sampled_from([0, 1, 2, -1, 0.5, "", "x", True, False, None, [], {}, [1], ["x"], {"5": 1}])
REQUESTS = (
    CompletionRequest,
    ChatRequest,
    ResponseRequest,
    MessageRequest,
    EmbeddingRequest,
    LlamaRequest,
    LoraxParameters,
)
MANY = frozenset({"n", "n_cmpl", "best_of"})
FIELDS = sorted(KNOWN.union(*(schema.model_fields for schema in REQUESTS)))
BODIES = st.dictionaries(st.sampled_from(FIELDS), SMALL | JSON, max_size=4)


def harmless(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in MANY}  # many answers only take time


FAULTS = {"/v1/messages": {"type", "message"}, "/generate": {"error", "error_type"}}
MESSAGES = {"messages": [{"role": "user", "content": "x"}]}
BASES = {
    "/v1/completions": {"prompt": "x"},
    "/v1/chat/completions": MESSAGES,
    "/v1/responses": {"input": "x"},
    "/v1/messages": {**MESSAGES, "max_tokens": 5},
    "/v1/embeddings": {"input": "x"},
    "/completion": {"prompt": "x"},
    "/generate": {"inputs": "x"},
    "/tokenize": {"prompt": "x"},
    "/detokenize": {"tokens": [5]},
}


@pytest.mark.parametrize("endpoint", BASES)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES, whole=st.booleans())
def test_no_body_is_our_error(api: Api, endpoint: str, body: dict[str, Any], whole: bool) -> None:
    asked = harmless(body)
    if endpoint == "/generate" and whole:
        asked = {"parameters": asked}
    response = asyncio.run(api.post(endpoint, {**BASES[endpoint], **asked} if whole else asked))
    assert response.status_code in ((200, 422, 424) if endpoint == "/generate" else (200, 400, 404)), response.text
    if response.status_code != 200:
        error = response.json() if endpoint == "/generate" else response.json()["error"]
        assert set(error) == FAULTS.get(endpoint, {"message", "type", "param", "code"})
        assert len(response.content) < 10_000

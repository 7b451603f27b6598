from __future__ import annotations

from typing import Any

import msgspec
import pytest

from loraplex_server.bench.load.answer import Answer
from loraplex_server.bench.load.events import EventLines
from loraplex_server.bench.load.trace import Trace
from loraplex_server.bench.load.workload import Planned


def answer() -> Answer:
    return Answer(Trace(Planned("base", None, [], 4, None, b""), start=0.0, sent=0.0))


def fed(*events: Any, ends: bool = True) -> Trace:
    """An answer's trace after these events, one a second from 1."""
    reader = answer()
    reader.status(200)
    for second, event in enumerate(events, start=1):
        payload = event if isinstance(event, bytes) else msgspec.json.encode(event)
        reader.feed(b"data: " + payload + b"\n\n", float(second))
    if ends:
        reader.feed(b"data: [DONE]\n\n", float(len(events)))
    reader.finish(float(len(events)))
    return reader.trace


def token(text: str = " a", finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"text": text, "finish_reason": finish, **more}]}


def usage(tokens: int) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": tokens}}


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_payloads_are_cut_out_of_any_pieces(size: int) -> None:
    stream = b': ping\n\ndata: {"a":1}\r\n\r\nevent: x\ndata:{"b":2}\n\ndata: [DONE]\n\n'
    lines = EventLines()
    found = [payload for start in range(0, len(stream), size) for payload in lines.feed(stream[start : start + size])]
    assert found == [b'{"a":1}', b'{"b":2}', b"[DONE]"]


def test_each_event_is_a_token_and_the_first_gives_ttft() -> None:
    trace = fed(token(), token(), token(finish="length"), usage(3))
    assert trace.ok
    assert trace.times == [1.0, 2.0, 3.0]
    assert (trace.ttft, trace.gaps, trace.tpot, trace.tokens, trace.prompt_tokens) == (1.0, [1.0, 1.0], 1.0, 3, 3)


def test_a_chat_answers_opening_and_end_are_no_tokens() -> None:
    opening = {"choices": [{"delta": {"role": "assistant", "content": ""}}]}
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    trace = fed(opening, {"choices": [{"delta": {"content": "a"}}]}, {"choices": [{"delta": {"content": "b"}}]}, end)
    assert trace.times == [2.0, 3.0]


def test_a_last_token_without_text_counts_when_usage_says_so() -> None:
    assert fed(token(), token("", "length"), usage(2)).times == [1.0, 2.0]
    assert fed(token(), token("", "stop"), usage(1)).times == [1.0]


def test_tokens_without_an_event_of_their_own_are_shared_among_those_that_came() -> None:
    trace = fed(token(), token(), token(finish="length"), usage(12))
    assert trace.counts == [4.0, 4.0, 4.0]
    assert fed(token(), token(), token(finish="length"), usage(10)).tokens == 10
    assert trace.tpot == pytest.approx(2 / 11)


def test_token_ids_count_exactly() -> None:
    trace = fed(token("", token_ids=[5]), token(" b", token_ids=[6, 7]), token("", "length", token_ids=[8]), usage(4))
    assert trace.counts == [1, 2, 1]


def test_an_answer_that_ends_without_done_is_truncated() -> None:
    assert fed(token(), ends=False).error == "truncated"


def test_an_answer_without_any_token_is_an_error() -> None:
    assert fed(usage(0)).error == "no tokens"


def test_an_error_event_fails_the_request_even_when_the_stream_ends_well() -> None:
    trace = fed(token(), {"error": {"message": "the engine died"}})
    assert trace.error == "error event"
    assert "the engine died" in trace.detail
    assert not trace.ok


def test_an_event_that_is_no_json_is_malformed() -> None:
    assert fed(token(), b"{oops").error == "malformed"


def test_a_refusal_is_kept_with_its_message() -> None:
    reader = answer()
    reader.status(429)
    reader.feed(b'{"error": {"message": "queue full"}}', 1.0)
    reader.finish(1.0)
    assert reader.trace.error == "http 429"
    assert "queue full" in reader.trace.detail

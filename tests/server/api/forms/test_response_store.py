from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from loraplex_server.api.errors import ApiError
from loraplex_server.api.forms.response_store import OVERHEAD_BYTES, ResponseStore, StoredResponse
from loraplex_server.api.schemas.response_items import AnyItem, parse_items


def turn(text: str) -> list[AnyItem]:
    return parse_items([{"role": "user", "content": text}])


def stored(id: str, text: str = "x", owner: str = "", before: list[AnyItem] | None = None) -> StoredResponse:
    body: dict[str, Any] = {"id": id, "object": "response"}
    return StoredResponse(owner, body, 100, before or [], turn(text), turn("answer"))


def test_the_one_that_was_used_longest_ago_leaves_first() -> None:
    size = stored("a").nbytes
    store = ResponseStore(2 * size)
    for id in "ab":
        store.put(stored(id))
    store.get("a", "")
    store.put(stored("c"))
    assert (len(store), store.nbytes) == (2, 2 * size)
    store.get("a", "")
    store.get("c", "")
    with pytest.raises(ApiError) as caught:
        store.get("b", "")
    assert caught.value.status == 404


def test_what_alone_is_too_large_drives_nothing_out() -> None:
    store = ResponseStore(stored("a").nbytes)
    store.put(stored("a"))
    store.put(stored("b", "x" * 100_000))
    assert store.get("a", "").id == "a"
    assert len(store) == 1


def test_each_response_counts_the_conversation_behind_it() -> None:
    first = stored("a", "x" * 5000)
    second = stored("b", before=first.conversation)
    assert second.nbytes > 5000 + 4 * OVERHEAD_BYTES
    assert [item.type for item in second.conversation] == ["message"] * 4


def test_only_its_owner_sees_a_response() -> None:
    store = ResponseStore(10**6)
    store.put(stored("a", owner="one"))
    for ask in (store.get, store.delete):
        with pytest.raises(ApiError) as caught:
            ask("a", "two")
        assert caught.value.status == 404
    store.delete("a", "one")
    assert (len(store), store.nbytes) == (0, 0)


LONG = "x" * 100_000


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "content": "hi", "id": LONG},
        {"role": "user", "content": "€" * 50_000},
        {"role": "user", "content": [{"type": "input_text", "text": ""}] * 500},
        {"type": "function_call", "call_id": LONG, "name": "f", "arguments": ""},
        {"type": "function_call_output", "call_id": LONG, "output": ""},
        {"type": "reasoning", "content": [{"a": [[]] * 3000}]},
        {"type": "reasoning", "encrypted_content": LONG},
    ],
    ids=lambda item: f"{item.get('type', 'message')} {max(item, key=lambda name: len(str(item[name])))}",
)
def test_whatever_takes_memory_counts(item: dict[str, Any]) -> None:
    text = json.dumps(item)
    tracemalloc.start()
    try:
        kept = parse_items([json.loads(text)])
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    response = StoredResponse("", {"id": "r"}, 0, [], kept, [])
    assert taken < response.nbytes < 20 * taken

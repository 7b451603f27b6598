"""The input of a stored response, a page at a time."""

from __future__ import annotations

from typing import Any, Literal

from loraplex_server.api.errors import bad_request
from loraplex_server.api.forms.response_store import StoredResponse

_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


def page_of_input(
    response: StoredResponse, after: str | None, limit: int, order: Literal["asc", "desc"]
) -> dict[str, Any]:
    """Items of the response's own input; those of the responses before it are theirs.

    Raises:
        ApiError: 400; there is no item `after`.
    """
    suffix = response.id.removeprefix("resp_")
    items = []
    for index, item in enumerate(response.input):
        shown = item.model_dump(exclude_none=True)
        shown["id"] = shown.get("id") or f"{_PREFIXES[item.type]}_{suffix}_in{index}"
        items.append(shown)
    if order == "desc":
        items.reverse()
    start = 0
    if after is not None:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise bad_request(f"'after': the input has no item '{after[:100]}'", param="after")
        start = ids.index(after) + 1
    shown_items = items[start : start + limit]
    return {
        "object": "list",
        "data": shown_items,
        "first_id": shown_items[0]["id"] if shown_items else None,
        "last_id": shown_items[-1]["id"] if shown_items else None,
        "has_more": start + limit < len(items),
    }

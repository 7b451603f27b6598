"""Lists in OpenAI's pages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Response

from loraplex_server.api.errors import bad_request
from loraplex_server.api.forms.responses import json_response
from loraplex_server.batch.state.page import UnknownCursorError

_Item = TypeVar("_Item")


async def listing(read: Callable[[], tuple[list[_Item], bool]], view: Callable[[_Item], dict[str, Any]]) -> Response:
    """A page: read on a thread, shown item by item.

    Raises:
        ApiError: 400, its cursor names nothing.
    """
    try:
        items, more = await asyncio.to_thread(read)
    except UnknownCursorError as error:
        raise bad_request(f"'after': there is no '{str(error)[:200]}'", param="after") from None
    return json_response(page_of(*[view(item) for item in items], more=more))


def page_of(*items: dict[str, Any], more: bool = False) -> dict[str, Any]:
    """A page as OpenAI's API shows it. Args: items: on it. more: whether another follows."""
    first, last = (items[0]["id"], items[-1]["id"]) if items else (None, None)
    return {"object": "list", "data": list(items), "first_id": first, "last_id": last, "has_more": more}

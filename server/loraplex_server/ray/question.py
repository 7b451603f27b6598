"""A request on its way from the ingress to a replica."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope


@dataclass(frozen=True)
class Question:
    """One HTTP request.

    Args:
        method, path, query, headers: as they came, the path without the application's prefix.
        body: all of it, or so much that it is seen to be too large.
        client: address and port of the sender, as the proxy tells it.
        adapter: that it names, and by which it was routed; "" for none.
    """

    method: str
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    client: tuple[str, int] | None = None
    adapter: str = ""

    def scope(self) -> Scope:
        """As an ASGI server would tell it."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "root_path": "",
            "query_string": self.query,
            "headers": list(self.headers),
            "client": self.client,
            "server": None,
        }


def question_of(scope: Scope, body: bytes, adapter: str) -> Question:
    """What a scope of Ray's proxy and a body ask."""
    prefix = scope.get("root_path", "")
    path = scope["path"].removeprefix(prefix) or "/"
    client = scope.get("client")
    return Question(
        method=scope["method"],
        path=path,
        query=scope.get("query_string", b""),
        headers=tuple((bytes(name), bytes(value)) for name, value in scope["headers"]),
        body=body,
        client=(str(client[0]), int(client[1])) if client else None,
        adapter=adapter,
    )

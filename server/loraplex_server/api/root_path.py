"""A prefix in front of every path, for proxies that route by it and leave it there."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """Takes the prefix off before anything looks at the path; paths without it are served as they are.

    It is the outermost of all: what is guarded, logged and routed is the path behind it.

    Args:
        app: that is served. prefix: `/llm`, without a slash at its end.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and scope["path"].startswith(self._prefix + "/"):
            raw = self._prefix.encode()
            scope = dict(scope) | {"path": scope["path"].removeprefix(self._prefix)}
            if scope.get("raw_path"):
                scope["raw_path"] = scope["raw_path"].removeprefix(raw)
        await self._app(scope, receive, send)

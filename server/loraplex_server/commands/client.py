"""A running server, asked over HTTP."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from loraplex_server.commands.error import CommandError

DEFAULT_URL = "http://127.0.0.1:8000"
# Adding an adapter waits until the server has fetched it, and loaded it.
TIMEOUT_S = 3600.0
CONNECT_TIMEOUT_S = 10.0
PAGE = 1000  # adapters asked for at once


class Client:
    """Args: url: of the server. key: sent as a bearer token, if any."""

    def __init__(self, url: str, key: str | None, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, transport=transport)
        except (httpx.InvalidURL, ValueError) as error:
            raise CommandError(f"{url!r} is no URL: {error}") from error
        self._url = url

    def close(self) -> None:
        """Give the connection back."""
        self._http.close()

    def adapters(self, states: list[str]) -> list[dict[str, Any]]:
        """All adapters, or those in any of these states."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            query: dict[str, Any] = {"limit": PAGE, "state": states} | ({"after": after} if after is not None else {})
            page = self._ask("GET", "/v1/adapters", params=query)
            found += page["data"]
            after = page["next"]
            if after is None:
                return found

    def adapter(self, name: str) -> dict[str, Any]:
        """One of them."""
        return self._ask("GET", _path(name))

    def add(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Add an adapter; see POST /v1/adapters."""
        return self._ask("POST", "/v1/adapters", json=body)

    def change(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change one; see PATCH /v1/adapters/{name}."""
        return self._ask("PATCH", _path(name), json=body)

    def remove(self, name: str) -> dict[str, Any]:
        """Remove one."""
        return self._ask("DELETE", _path(name))

    def _ask(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **how)
            body = response.json()
        except httpx.UnsupportedProtocol as error:
            raise CommandError(f"{self._url!r} is no URL: {error}") from error
        except httpx.TransportError as error:
            raise CommandError(f"no server answers at {self._url}: {error or type(error).__name__}") from error
        except ValueError as error:
            raise CommandError(
                f"{self._url} is no Loraplex: it answered {response.status_code} without JSON"
            ) from error
        if response.is_success and isinstance(body, dict):
            return body
        raise CommandError(_message(response.status_code, body))


def key_from(given: str | None) -> str | None:
    """The key to send: the one given, or the first that the environment has for the server."""
    return given or first_key(os.environ.get("LORAPLEX_ADMIN_KEY")) or first_key(os.environ.get("LORAPLEX_API_KEY"))


def first_key(variable: str | None) -> str | None:
    """Of the keys in a server's variable, one to send."""
    return variable.split(",")[0].strip() if variable else None


def url_from(given: str | None) -> str:
    """The server's URL: the one given, or the environment's, or where `loraplex serve` listens by default."""
    return given or os.environ.get("LORAPLEX_URL") or DEFAULT_URL


def _path(name: str) -> str:
    return f"/v1/adapters/{quote(name, safe='')}"


def _message(status: int, body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return str(message or f"the server answered {status}")

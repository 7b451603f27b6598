"""Whom the requests go to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx


@dataclass(frozen=True)
class Targets:
    """A server, the base model's name there and its adapters' names."""

    url: str
    base: str
    adapters: tuple[str, ...] = ()
    api_key: str | None = None

    def __post_init__(self) -> None:
        check_url(self.url)

    def name(self, adapter: int | None) -> str:
        """The name that a request for this adapter gives as its model."""
        return self.base if adapter is None else self.adapters[adapter]


def check_url(url: str) -> None:
    """Refuse what is no address of a server, with a ValueError."""
    address = urlsplit(url)
    if address.scheme not in {"http", "https"} or not address.hostname:
        raise ValueError(f"--url is http://HOST:PORT or https://..., got {url!r}")


class TargetsError(Exception):
    """The server does not say what it serves, or serves less than was asked for."""


def find_targets(
    url: str,
    *,
    base: str | None = None,
    adapters: Sequence[str] | None = None,
    at_most: int | None = None,
    api_key: str | None = None,
) -> Targets:
    """The given names, and for those not given what `GET /v1/models` lists: the base has `parent: null`.

    Args:
        url: the server's root, without `/v1`.
        base: the base model's name.
        adapters: the adapters' names.
        at_most: keep only that many adapters.
        api_key: sent as a bearer token.

    Raises:
        ValueError: `url` is no address of a server.
        TargetsError: the list cannot be had, or names no base model or fewer adapters than `at_most`.
    """
    check_url(url)
    if base is None or adapters is None:
        listed = _listed(url, api_key)
        if base is None:
            roots = [model["id"] for model in listed if model.get("parent") is None]
            if not roots:
                raise TargetsError(f"{url}/v1/models lists no base model (none without parent); name it with --model")
            base = roots[0]
        if adapters is None:
            adapters = sorted(model["id"] for model in listed if model.get("parent") is not None)
    if at_most is not None:
        if len(adapters) < at_most:
            raise TargetsError(f"--adapters {at_most}, but there are only {len(adapters)} at {url}")
        adapters = adapters[:at_most]
    return Targets(url.rstrip("/"), base, tuple(adapters), api_key)


def _listed(url: str, api_key: str | None) -> list[dict[str, Any]]:
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        answer = httpx.get(f"{url.rstrip('/')}/v1/models", headers=headers, timeout=30)
        answer.raise_for_status()
        models: list[dict[str, Any]] = answer.json()["data"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise TargetsError(f"{url}/v1/models: {error}") from error
    return models

"""What the remotes that speak HTTP have in common: limits, and what an answer means."""

from __future__ import annotations

import httpx

from loraplex_adapters.errors import SourceError, SourceNotFoundError, SourceUnavailableError
from loraplex_adapters.sources.address import Address

TIMEOUT = httpx.Timeout(30, connect=10)
# Compressed bodies could be any size once they are unpacked, and the announced size is of the file itself.
IDENTITY = {"accept-encoding": "identity"}


def failure(address: Address, status: int) -> SourceError:
    """The error that a status other than success is."""
    if status in (401, 403):
        return SourceNotFoundError(f"'{address.text}' refuses this server access (status {status})")
    if status in (404, 410):
        return SourceNotFoundError(f"there is nothing at '{address.text}'")
    if 300 <= status < 400:
        return SourceUnavailableError(f"'{address.text}' redirects elsewhere, which is not followed")
    return SourceUnavailableError(f"'{address.text}' answers with status {status}")


def broken(address: Address, error: Exception) -> SourceUnavailableError:
    """The error that a failed connection is; its own text may name addresses of the inner network."""
    return SourceUnavailableError(f"'{address.text}' cannot be reached ({type(error).__name__})")


def require_identity(response: httpx.Response) -> None:
    """Let a body pass that is sent as it is. Raises httpx.DecodingError."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx.DecodingError("encoded though it was asked not to be", request=response.request)

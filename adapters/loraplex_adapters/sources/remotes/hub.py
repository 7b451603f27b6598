"""Repositories of the Hugging Face hub, or of a mirror of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from urllib.parse import urlsplit

import httpx
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, if not in __all__

from loraplex_adapters.errors import SourceError, SourceNotFoundError, SourceUnavailableError
from loraplex_adapters.sources.address import Address
from loraplex_adapters.sources.listing import Listing, RemoteFile
from loraplex_adapters.sources.remotes.http import IDENTITY, TIMEOUT, broken, failure, require_identity
from loraplex_adapters.sources.remotes.trace import trace_headers
from loraplex_adapters.sources.wanted import WANTED

LIST_TIMEOUT_S = 10
REDIRECTS = 5  # large files lie on another host than the hub's own
# The hub's client changed the HTTP library under it before: its errors are known by the class that it extends.
_TRANSPORT_ERRORS: tuple[type[Exception], ...] = HfHubHTTPError.__bases__


class HubRemote:
    """The hub's API says what there is, at which commit and with which hashes; the bytes are read one by one here, so
    that they can be counted, and stopped.

    The token is the environment's (HF_TOKEN, or a login); it is sent to the hub alone, not to where it redirects.

    Args:
        endpoint: URL; None is HF_ENDPOINT's, or the hub itself.
        token: None is the environment's.
    """

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        self._api = HfApi(endpoint=endpoint, token=token)
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT,
            follow_redirects=True,
            max_redirects=REDIRECTS,
            headers=IDENTITY,
            event_hooks={"request": [self._require_encrypted]},
        )

    async def list(self, address: Address) -> Listing:
        """See Remote."""
        return await asyncio.to_thread(self._list, address)

    async def read(self, address: Address, listing: Listing, file: RemoteFile) -> AsyncGenerator[bytes, None]:
        """See Remote."""
        url = hf_hub_url(address.place, file.name, revision=listing.revision, endpoint=self._api.endpoint)
        try:
            async with self._client.stream("GET", url, headers={**self._headers(), **trace_headers()}) as response:
                if not response.is_success:
                    raise failure(address, response.status_code)
                require_identity(response)
                async for piece in response.aiter_raw():
                    yield piece
        except httpx.HTTPError as error:
            raise broken(address, error) from error

    async def close(self) -> None:
        """See Remote."""
        await self._client.aclose()

    def _list(self, address: Address) -> Listing:
        revision = address.revision or "main"
        try:
            info = self._api.model_info(address.place, revision=revision, files_metadata=True, timeout=LIST_TIMEOUT_S)
            files = tuple(_file(each) for each in info.siblings or () if each.rfilename in WANTED)
        except (RepositoryNotFoundError, RevisionNotFoundError, GatedRepoError, HFValidationError) as error:
            raise SourceNotFoundError(_absent(address, error)) from error
        except OfflineModeIsEnabled as error:
            raise SourceUnavailableError(
                f"'{address.text}': this server is set not to ask the hub (offline)"
            ) from error
        except HfHubHTTPError as error:
            raise self._failure(address, error) from error
        except _TRANSPORT_ERRORS as error:
            raise broken(address, error) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SourceUnavailableError(f"'{address.text}': what answers is no hub") from error
        if not info.sha:
            raise SourceUnavailableError(f"'{address.text}': the hub names no commit")
        return Listing(info.sha, files)

    def _failure(self, address: Address, error: HfHubHTTPError) -> SourceError:
        return broken(address, error) if error.response is None else failure(address, error.response.status_code)

    def _headers(self) -> Mapping[str, str]:
        return {str(key): str(value) for key, value in build_hf_headers(token=self._api.token).items()}

    async def _require_encrypted(self, request: httpx.Request) -> None:
        """An endpoint without TLS is the operator's own wish; a redirect to one is nobody's."""
        if request.url.scheme != "https" and urlsplit(self._api.endpoint).scheme == "https":
            raise httpx.UnsupportedProtocol("redirected to a place without encryption", request=request)


def _file(sibling: RepoSibling) -> RemoteFile:
    if sibling.size is None:
        raise ValueError(f"no size of {sibling.rfilename}")
    if sibling.lfs is not None:
        return RemoteFile(sibling.rfilename, sibling.size, sibling.lfs.sha256, sibling.lfs.sha256)
    return RemoteFile(sibling.rfilename, sibling.size, sibling.blob_id or "", sibling.blob_id, "git")


def _absent(address: Address, error: Exception) -> str:
    if isinstance(error, GatedRepoError):
        return f"'{address.text}' is gated, and this server's token has not been granted access"
    if isinstance(error, RevisionNotFoundError):
        return f"'{address.place}' on the hub has no revision '{address.revision}'"
    return f"the hub has no '{address.place}', or not for this server's token"

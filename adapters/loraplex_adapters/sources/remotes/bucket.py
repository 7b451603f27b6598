"""Buckets: S3 (and what speaks its protocol) and Google Cloud Storage."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import (
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import GCSStore, S3Store

from loraplex_adapters.errors import SourceError, SourceNotFoundError, SourceUnavailableError
from loraplex_adapters.sources.address import Address
from loraplex_adapters.sources.listing import Listing, RemoteFile, revision_of
from loraplex_adapters.sources.remotes.http import broken, failure
from loraplex_adapters.sources.wanted import WANTED

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig  # which are not there at run time

PIECE = 1 << 20
# A listing that is refused has no error class of its own: only the text says whether it was, or whether it failed.
_STATUS = re.compile(r"status code: (\d{3})\b")
_CLIENT: ClientConfig = {"connect_timeout": timedelta(seconds=10), "read_timeout": timedelta(seconds=30)}
_RETRY: RetryConfig = {"max_retries": 2, "retry_timeout": timedelta(seconds=20)}

Store = S3Store | GCSStore


class BucketRemote:
    """One adapter is the objects directly below a prefix. Endpoint, region and credentials are the environment's:
    AWS_* and GOOGLE_*, or what the machine's own metadata service gives.
    """

    def __init__(self) -> None:
        self._stores: dict[tuple[str, str], Store] = {}

    async def list(self, address: Address) -> Listing:
        """See Remote."""
        prefix = f"{address.path}/" if address.path else ""
        try:
            # No page is asked for beyond the folder's own objects: a prefix may hold thousands of adapters.
            found = await obstore.list_with_delimiter_async(self._store(address), prefix or None)
        except (BaseError, OSError, ValueError) as error:
            raise _failure(address, error) from error
        files = []
        for each in found["objects"]:
            name = each["path"].removeprefix(prefix)
            if name in WANTED:
                files.append(RemoteFile(name, each["size"], each["e_tag"] or each["last_modified"].isoformat()))
        if not found["objects"] and not found["common_prefixes"]:
            raise SourceNotFoundError(f"there is nothing at '{address.text}'")
        return Listing(revision_of(files), tuple(files))

    async def read(self, address: Address, listing: Listing, file: RemoteFile) -> AsyncGenerator[bytes, None]:
        """See Remote."""
        path = f"{address.path}/{file.name}" if address.path else file.name
        try:
            result = await obstore.get_async(self._store(address), path)
            if (result.meta["e_tag"] or file.tag) != file.tag:
                raise SourceUnavailableError(f"'{address.text}' changed while it was being fetched")
            async for piece in result.stream(min_chunk_size=PIECE):
                yield bytes(piece)
        except (BaseError, OSError, ValueError) as error:
            raise _failure(address, error) from error

    async def close(self) -> None:
        """See Remote."""
        self._stores.clear()

    def _store(self, address: Address) -> Store:
        key = (address.kind, address.place)
        if key not in self._stores:
            if address.kind == "s3":
                # Options that are given here hide the environment's.
                plain = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true", "yes", "on")
                client: ClientConfig = {**_CLIENT, "allow_http": plain}
                self._stores[key] = S3Store(address.place, client_options=client, retry_config=_RETRY)
            else:
                self._stores[key] = GCSStore(address.place, client_options=_CLIENT, retry_config=_RETRY)
        return self._stores[key]


def _failure(address: Address, error: Exception) -> SourceError:
    """Without the error's own text, which has hosts, request ids and whole responses in it."""
    if isinstance(error, NotFoundError | FileNotFoundError):
        return SourceNotFoundError(f"there is nothing at '{address.text}'")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError):
        return SourceNotFoundError(f"'{address.text}' refuses this server access")
    if isinstance(error, PreconditionError):
        return SourceUnavailableError(f"'{address.text}' changed while it was being fetched")
    if (status := _STATUS.search(str(error))) is not None:
        return failure(address, int(status[1]))
    return broken(address, error)

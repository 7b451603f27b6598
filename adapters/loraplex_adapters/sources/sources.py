"""From an address to a folder on this machine."""

from __future__ import annotations

import os

from loraplex_adapters.errors import SourceNotAllowedError
from loraplex_adapters.fingerprint import CONFIG_FILE
from loraplex_adapters.sources.address import Address
from loraplex_adapters.sources.allowed import AllowedSources
from loraplex_adapters.sources.cache import DiskUsage
from loraplex_adapters.sources.fetcher import Fetcher
from loraplex_adapters.sources.folder import permitted_folder
from loraplex_adapters.sources.held import HeldFolder


class Sources:
    """All places that adapters may come from. Used on one event loop.

    Args:
        allowed: what the settings permit; nothing by default.
        fetcher: of what is remote; None fetches nothing.
    """

    def __init__(self, allowed: AllowedSources | None = None, fetcher: Fetcher | None = None) -> None:
        self._allowed = allowed or AllowedSources()
        self._fetcher = fetcher

    def local(self, address: Address) -> str | None:
        """The folder on this machine, without asking anybody; None where it is not here.

        Raises:
            SourceNotAllowedError: the settings do not permit it.
            SourceNotFoundError: a local folder that is not there.
        """
        self._allowed.require(address)
        if address.kind == "folder":
            return permitted_folder(address.path, self._allowed.folders())
        return None if self._fetcher is None else self._fetcher.cached(address)

    def has(self, address: Address) -> bool:
        """Whether it seems to be on this machine; its content is not read for that."""
        if address.kind == "folder":
            return os.path.isfile(os.path.join(address.path, CONFIG_FILE))
        return self._fetcher is not None and self._fetcher.has(address)

    async def open(self, address: Address) -> HeldFolder:
        """Fetch what is not here, and hold it.

        Raises:
            SourceError: it cannot be had; its subclasses say why.
            DiskFullError: there is no room for it.
        """
        self._allowed.require(address)
        if address.kind == "folder":
            return HeldFolder(permitted_folder(address.path, self._allowed.folders()))
        if self._fetcher is None:
            raise SourceNotAllowedError("this server fetches no adapters from other machines")
        return await self._fetcher.open(address)

    async def disk_usage(self) -> DiskUsage | None:
        """How full the disk cache is; None where nothing is fetched."""
        return None if self._fetcher is None else await self._fetcher.usage()

    async def close(self) -> None:
        """End what is being fetched."""
        if self._fetcher is not None:
            await self._fetcher.close()

"""From an address to a folder on this machine."""

from __future__ import annotations

from loraplex_adapters.errors import SourceError
from loraplex_adapters.sources.address import Address
from loraplex_adapters.sources.allowed import AllowedSources
from loraplex_adapters.sources.folder import permitted_folder
from loraplex_adapters.sources.held import HeldFolder


class Sources:
    """All places that adapters may come from. Used on one event loop.

    Args:
        allowed: what the settings permit; nothing by default.
    """

    def __init__(self, allowed: AllowedSources | None = None) -> None:
        self._allowed = allowed or AllowedSources()

    def local(self, address: Address) -> HeldFolder | None:
        """What is on this machine already, without asking anybody; None where it is not.

        Raises:
            SourceNotAllowedError: the settings do not permit it.
            SourceNotFoundError: a local folder that is not there.
        """
        self._allowed.require(address)
        if address.kind == "folder":
            return HeldFolder(permitted_folder(address.path, self._allowed.folders()))
        return None

    async def open(self, address: Address) -> HeldFolder:
        """Fetch what is not here, and hold it.

        Raises:
            SourceError: it cannot be had; its subclasses say why.
            DiskFullError: there is no room for it.
        """
        held = self.local(address)
        if held is not None:
            return held
        raise SourceError("this server fetches no adapters")

    async def close(self) -> None:
        """End what is being fetched."""

"""The adapters of a server, by name. Looked up on every request, so that a new one needs no restart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from loraplex_adapters.errors import AdapterConflictError, AdapterError, UnknownAdapterError
from loraplex_adapters.registry import CatalogEntry, Registry
from loraplex_adapters.registry.rules import NameRules
from loraplex_adapters.registry.turns import Turns
from loraplex_adapters.source import AdapterSource
from loraplex_adapters.sources.address import parse_address
from loraplex_adapters.sources.cache import DiskUsage
from loraplex_adapters.sources.folder import FolderRoot, adapter_source, written_at
from loraplex_adapters.sources.held import HeldAdapter, HeldFolder
from loraplex_adapters.sources.sources import Sources


class Catalog:
    """Every sub-folder of the root that holds an adapter_config.json, every adapter that was added, and their aliases.

    A request names an adapter, never a path: whatever is not one plain name, or leads out of its root through a
    symbolic link, is unknown. Of one name in both, what was added wins. Nothing is cached of local folders; each call
    looks at the disk.

    Args:
        root: the folder, or None for none.
        registry: of what was added; None keeps it in this process.
        sources: that adapters may be added from; None permits none.
        reserved: names that no adapter may be given: the base model's.

    Raises:
        ValueError: the root is not a folder.
    """

    def __init__(
        self,
        root: Path | None,
        *,
        registry: Registry | None = None,
        sources: Sources | None = None,
        reserved: Collection[str] = (),
    ) -> None:
        self._root = FolderRoot(root)
        self._registry = registry or Registry()
        self._sources = sources or Sources()
        self._rules = NameRules(self._registry, lambda name: self._root.folder(name) is not None, reserved)
        self._turns = Turns()
        self._errors: dict[str, str] = {}  # why a name could not be had the last time

    def names(self) -> list[str]:
        """All of them, sorted; an alias only while what it stands for is there."""
        names = {*self._root.names(), *self._registry.adapters}
        return sorted(names | {alias for alias, target in self.aliases().items() if target in names})

    def resolve(self, name: str) -> AdapterSource:
        """Where the adapter of that name is, as it is at this moment, on this machine.

        What it gives is not held: a copy in the disk cache may be evicted before it is read. Requests use `open`.

        Raises:
            UnknownAdapterError: there is none.
            AdapterError: its files are not here, or cannot be looked at.
        """
        name = self.canonical(name)
        folder = self._local(name)
        if folder is None:
            raise AdapterError(f"adapter '{name}' has not been fetched yet")
        return adapter_source(name, folder)

    async def open(self, name: str) -> HeldAdapter:
        """The adapter of that name, fetched if it must be, and held on the disk.

        Raises:
            UnknownAdapterError: there is none.
            AdapterError: it cannot be had; its subclasses say why.
        """
        name = self.canonical(name)
        try:
            held = await self._fetch(name)
            try:
                source = adapter_source(name, held.path)
            except BaseException:
                held.release()
                raise
        except UnknownAdapterError:
            raise
        except AdapterError as error:
            self._errors[name] = str(error)
            raise
        self._errors.pop(name, None)
        return HeldAdapter(source, held)

    def canonical(self, name: str) -> str:
        """What an alias stands for; any other name is itself.

        Raises:
            UnknownAdapterError: there is no adapter of that name.
        """
        target = self.meaning(name)
        if not self._exists(target):
            raise _unknown(name)
        return target

    def meaning(self, name: str) -> str:
        """What an alias stands for; any other name is itself. Whether there is such an adapter is not looked at, so
        that the time it takes tells nothing of it."""
        return self._registry.aliases.get(name, name)

    def describe(self, name: str) -> CatalogEntry:
        """What is known of a name. Raises UnknownAdapterError where there is none."""
        target = self.canonical(name)
        added = self._registry.adapters.get(target)
        return CatalogEntry(
            name=name,
            kind="alias" if name != target else "folder" if added is None else "registered",
            source=target if added is None else added.source,
            aliases=() if name != target else self._aliases_of(target),
            pinned=target in self._registry.pins,
            created=self.created(name),
            target=target if name != target else None,
            on_disk=self._is_on_disk(target),
            revision="" if added is None else added.revision,
            last_error=self._errors.get(target),
        )

    async def add(
        self,
        name: str,
        source: str,
        *,
        pinned: bool = False,
        replace: bool = False,
        aliases: Collection[str] = (),
        accept: Callable[[AdapterSource], Awaitable[None]] | None = None,
    ) -> CatalogEntry:
        """Give a source a name, once its files are here. The same once more changes nothing, but may pin.

        Args:
            name: plain, and not the base model's.
            source: `/folder`, `org/name[@revision]`, `s3://`, `gs://` or `https://`, where the settings permit it.
            pinned: whether it shall stay in memory.
            replace: whether the name may have another source now.
            aliases: more names for it.
            accept: is shown the files before the name stands for them; what it raises changes nothing.

        Raises:
            AdapterNameError: nothing may be called so.
            AdapterConflictError: the name is a folder's, an alias, or has another source; or an alias is a name.
            SourceError, DiskFullError, NotRememberedError: it cannot be had, or cannot be kept. In all of these nothing
                is changed.
        """
        address = parse_address(source)
        async with self._turns.turn(name):
            self._require_free(name, address.text, aliases, replace)
            held = await self._sources.open(address)
            try:
                if accept is not None:
                    await accept(adapter_source(name, held.path))
                self._require_free(name, address.text, aliases, replace)  # what came meanwhile
                self._registry.put(name, address.text, held.revision, pinned=pinned, aliases=aliases)
            finally:
                held.release()
            self._errors.pop(name, None)
            return self.describe(name)

    def lend(self, name: str, source: str) -> None:
        """Give a source a name until the server ends: the settings say so, whatever was added under it before.

        Unlike any other name, it may have slashes: it comes from whoever starts the server.

        Raises:
            AdapterNameError: nothing may be called so.
            AdapterConflictError: it is a name of the base model, or of a folder of the root.
            SourceError: the source's text means nothing, or is not permitted, or is a folder without an adapter.
        """
        address = parse_address(source)
        self._rules.require_lendable(name)
        self._sources.local(address)
        self._registry.lend(name, address.text)

    def remove(self, name: str) -> None:
        """Forget an alias, or an adapter that was added, with its aliases. Who holds it keeps it.

        Raises:
            UnknownAdapterError: there is none of that name.
            AdapterConflictError: it is a folder of the root, which is not deleted from here.
        """
        if name in self._registry.aliases:
            self._registry.drop_alias(name)
        elif name in self._registry.adapters:
            self._registry.drop(name)
            self._errors.pop(name, None)
        else:
            self.canonical(name)
            raise AdapterConflictError(
                f"adapter '{name}' is a folder among the server's adapters: it is there as long as the folder is"
            )

    def change(self, name: str, *, pinned: bool | None = None, aliases: Collection[str] | None = None) -> None:
        """Pin or unpin an adapter and give it these aliases instead of those that it has; all of it, or nothing.

        Args:
            name: its own, or an alias.
            pinned: whether it shall stay in memory; None: as it is.
            aliases: that may stand for another adapter now; None: as they are.

        Raises:
            UnknownAdapterError: there is none.
            AdapterNameError: nothing may be called as an alias is.
            AdapterConflictError: an alias is an adapter's name, or the base's.
            NotRememberedError: it cannot be written.
        """
        name = self.canonical(name)
        for alias in aliases or ():
            self._rules.require_alias(alias, name)
        self._registry.change(name, pinned=pinned, aliases=aliases)

    def aliases(self) -> dict[str, str]:
        """Each alias and what it stands for, those of absent folders among them."""
        return dict(self._registry.aliases)

    def pinned(self) -> list[str]:
        """The adapters that shall stay in memory and are there, sorted."""
        return sorted(name for name in self._registry.pins if self._exists(name))

    def created(self, name: str) -> int:
        """Unix time, in seconds, at which it was added, or at which the newer file of a folder was last written.

        Raises:
            UnknownAdapterError: there is none of that name.
        """
        name = self.canonical(name)
        if (added := self._registry.adapters.get(name)) is not None:
            return added.created
        written = written_at(self._require_folder(name))
        if written is None:
            raise _unknown(name)  # deleted this moment
        return written

    async def disk_usage(self) -> DiskUsage | None:
        """How full the disk cache is; None where nothing is fetched."""
        return await self._sources.disk_usage()

    async def close(self) -> None:
        """End what is being fetched, and let go of the state folder."""
        await self._sources.close()
        self._registry.close()

    def _require_free(self, name: str, source: str, aliases: Collection[str], replace: bool) -> None:
        self._rules.require_free(name, source, replace)
        for alias in aliases:
            self._rules.require_alias(alias, name)

    def _exists(self, name: str) -> bool:
        return name in self._registry.adapters or self._root.folder(name) is not None

    async def _fetch(self, name: str) -> HeldFolder:
        """Held; of a folder that is deleted meanwhile, an error."""
        added = self._registry.adapters.get(name)
        if added is None:
            return HeldFolder(self._require_folder(name))
        held = await self._sources.open(parse_address(added.source))
        if self._registry.adapters.get(name) == added:  # else it was removed or replaced meanwhile
            self._registry.note_revision(name, held.revision)
        return held

    def _local(self, name: str) -> str | None:
        added = self._registry.adapters.get(name)
        if added is None:
            return self._require_folder(name)
        return self._sources.local(parse_address(added.source))

    def _require_folder(self, name: str) -> str:
        folder = self._root.folder(name)
        if folder is None:
            raise _unknown(name)
        return folder

    def _is_on_disk(self, name: str) -> bool:
        added = self._registry.adapters.get(name)
        return added is None or self._sources.has(parse_address(added.source))

    def _aliases_of(self, name: str) -> tuple[str, ...]:
        return tuple(sorted(alias for alias, target in self._registry.aliases.items() if target == name))


def _unknown(name: str) -> UnknownAdapterError:
    return UnknownAdapterError(f"there is no adapter '{name}'")

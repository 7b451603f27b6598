"""The disk cache: which entries there are, who holds them, and which leave when room is needed."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec

from loraplex_adapters.errors import DiskFullError, SourceTooLargeError
from loraplex_adapters.sources.cache.cleaning import clean
from loraplex_adapters.sources.cache.file_lock import FileLock
from loraplex_adapters.sources.cache.files import sync_folder, telling_full, write_atomically
from loraplex_adapters.sources.cache.index import Index, IndexRecord
from loraplex_adapters.sources.cache.manifest import FILE, Manifest, changed, corrupt, read_manifest
from loraplex_adapters.sources.cache.staging import Staging, sweep
from loraplex_adapters.sources.cache.usage import DiskUsage
from loraplex_adapters.sources.held import HeldFolder

logger = logging.getLogger(__name__)


class DiskCache:
    """Folders of files under the hash of their content, within a budget of bytes.

        entries/HASH/      files and manifest.json; its modification time is when it was used last
        holds/HASH         a lock, shared by the processes that hold the entry
        staging/ID[.lock]  what is being fetched, and how much room is reserved for it
        index/, fetching/  a record, and a lock while it is fetched, for each source
        lock               taken to add entries and to remove them

    Any thread may call; several processes may share the folder. Nothing here asks a network.

    Args:
        root: made where it is missing.
        budget_bytes: for all entries, and for what is being fetched.

    Raises:
        OSError: the folder cannot be used.
    """

    def __init__(self, root: Path, budget_bytes: int) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = os.path.realpath(root)
        self._budget = budget_bytes
        for name in ("entries", "holds", "staging", "index", "fetching"):
            os.makedirs(self._path(name), exist_ok=True)
        self._index = Index(self._path("index"))
        self._mutex = threading.Lock()
        self._holds: dict[str, tuple[FileLock, int]] = {}  # entry -> the lock of all our holds, and their number
        self._manifests: dict[str, Manifest] = {}  # whose content this process has checked, or written itself
        self._sizes: dict[str, int] = {}  # of entries; equal names have equal content
        with self._alone():
            clean(self._root)

    def usage(self) -> DiskUsage:
        """What there is, other processes' entries among it. Reads the disk."""
        entries = os.listdir(self._path("entries"))
        return DiskUsage(len(entries), sum(map(self._nbytes, entries)), self._budget)

    def find(self, key: str) -> IndexRecord | None:
        """What is known of a source."""
        return self._index.find(key)

    def touch(self, record: IndexRecord) -> None:
        """Say that a source was looked at just now, and is as it was.

        Raises:
            DiskFullError: that cannot be written down.
        """
        with telling_full(f"that '{record.key}' is as it was cannot be kept"):
            self._index.put(msgspec.structs.replace(record, checked=time.time()))

    def fetching(self, key: str) -> FileLock:
        """The lock of whoever fetches a source; to be deleted and released."""
        return FileLock(self._path("fetching", Index.name(key)))

    def has(self, entry: str) -> bool:
        """Whether there is such an entry, sound or not."""
        return os.path.isdir(self._path("entries", entry))

    def is_checked(self, entry: str) -> bool:
        """Whether `hold` need not read it all."""
        return self._known(entry, self._path("entries", entry)) is not None

    def peek(self, entry: str) -> str | None:
        """The folder of an entry whose sizes and times are right; neither read nor held, so good for a listing."""
        path = self._path("entries", entry)
        manifest = self._manifests.get(entry) or read_manifest(path)
        return path if manifest is not None and changed(path, manifest) is None else None

    def hold(self, entry: str) -> HeldFolder | None:
        """Keep an entry from leaving.

        The first time in a process that means reading it all. What is damaged is dropped.

        Returns:
            None: it is not there, or was damaged.
        """
        path = self._path("entries", entry)
        if not os.path.isdir(path) or not self._claim(entry):
            return None
        reason = None
        try:
            reason = self._damage(entry, path)
            if reason is None:
                os.utime(path)
                return HeldFolder(path, on_release=self._releaser(entry))
        except FileNotFoundError:
            reason = "it vanished"
        finally:
            if reason is not None:
                self._release(entry)
        logger.warning("entry %s of the disk cache is dropped: %s", entry[:12], reason)
        self._drop(entry)
        return None

    def stage(self, nbytes: int) -> Staging:
        """Room for a new entry, made by evicting those that nobody holds, the least recently used first.

        Raises:
            SourceTooLargeError: there could never be enough.
            DiskFullError: there is not enough, even without them, and none is evicted; or the disk itself is full.
        """
        if nbytes > self._budget:
            raise SourceTooLargeError(
                f"an adapter of {nbytes} bytes is larger than all of this server's disk cache, {self._budget} bytes"
            )
        with telling_full(f"there is no room for {nbytes} bytes of an adapter"), self._alone():
            reserved = sweep(self._path("staging"))
            evicted = self._make_room(nbytes, reserved)
            staging = Staging(self._path("staging"), nbytes)
        for path in evicted:
            shutil.rmtree(path, ignore_errors=True)
        return staging

    def publish(self, staging: Staging, manifest: Manifest, key: str, revision: str) -> HeldFolder:
        """Give what was staged its name, remember it for its source, and hold it.

        Args:
            staging: whose files are complete, checked and synced.
            manifest: of the files.
            key: of the source.
            revision: of its content.

        Raises:
            DiskFullError: the disk is full.
        """
        with telling_full(f"'{key}' cannot be kept"):
            return self._publish(staging, manifest, key, revision)

    def _publish(self, staging: Staging, manifest: Manifest, key: str, revision: str) -> HeldFolder:
        entry = manifest.key
        write_atomically(os.path.join(staging.path, FILE), msgspec.json.encode(manifest))
        sync_folder(staging.path)
        path, damaged = self._path("entries", entry), None
        with self._alone():
            if os.path.isdir(path) and self._damage(entry, path) is not None:
                damaged = self._set_aside(entry)
            if not os.path.isdir(path):
                os.rename(staging.path, path)
                sync_folder(self._path("entries"))
                self._manifests[entry] = manifest
            self._claim(entry)  # nobody can be evicting it: that needs the lock that is held here
            try:
                self._index.put(IndexRecord(key, revision, entry, time.time()))  # nor cleaning the index
            except BaseException:
                self._release(entry)
                raise
        if damaged is not None:
            shutil.rmtree(damaged, ignore_errors=True)
        return HeldFolder(path, revision, self._releaser(entry))

    def _path(self, *parts: str) -> str:
        return os.path.join(self._root, *parts)

    def _alone(self) -> FileLock:
        return FileLock(self._path("lock"))

    def _claim(self, entry: str) -> bool:
        with self._mutex:
            if entry in self._holds:
                lock, count = self._holds[entry]
                self._holds[entry] = (lock, count + 1)
                return True
            lock = FileLock(self._path("holds", entry))
            if not lock.acquire(shared=True, wait=False):
                return False  # it is being evicted
            self._holds[entry] = (lock, 1)
            return True

    def _release(self, entry: str) -> None:
        with self._mutex:
            lock, count = self._holds.pop(entry)
            if count > 1:
                self._holds[entry] = (lock, count - 1)
            else:
                lock.release()

    def _releaser(self, entry: str) -> Callable[[], None]:
        return lambda: self._release(entry)

    def _known(self, entry: str, path: str) -> Manifest | None:
        """Of what was checked and has not changed since; another process may have evicted it and fetched it again."""
        manifest = self._manifests.get(entry)
        return manifest if manifest is not None and changed(path, manifest) is None else None

    def _damage(self, entry: str, path: str) -> str | None:
        if self._known(entry, path) is not None:
            return None
        manifest = read_manifest(path)
        if manifest is None or manifest.key != entry:
            return "its manifest is damaged"
        reason = changed(path, manifest) or corrupt(path, manifest)
        if reason is None:
            self._manifests[entry] = manifest
        return reason

    def _drop(self, entry: str) -> None:
        """Move an entry away whoever holds it: what is damaged is of no use to them."""
        self._manifests.pop(entry, None)
        with self._alone():
            path = self._path("entries", entry)
            if os.path.isdir(path) and self._damage(entry, path) is not None:
                shutil.rmtree(self._set_aside(entry), ignore_errors=True)

    def _make_room(self, nbytes: int, reserved: int) -> list[str]:
        """Set entries aside until there is room, or none of them where there would not be; under the lock."""
        entries = sorted((os.stat(each.path).st_mtime_ns, each.name) for each in os.scandir(self._path("entries")))
        sizes = {name: self._nbytes(name) for _, name in entries}
        free = self._budget - reserved - sum(sizes.values())
        leaving: dict[str, FileLock] = {}
        try:
            for _, name in entries:
                if free >= nbytes or nbytes + reserved > self._budget:
                    break
                lock = FileLock(self._path("holds", name))
                if lock.acquire(wait=False):
                    leaving[name] = lock
                    free += sizes[name]
            if free < nbytes:
                raise DiskFullError(
                    f"there is no room on this server's disk for {nbytes} more bytes of adapters: "
                    "all that is there is in use"
                )
            return [self._evict(name, lock) for name, lock in leaving.items()]
        finally:
            for lock in leaving.values():
                lock.release()

    def _evict(self, entry: str, lock: FileLock) -> str:
        path = self._set_aside(entry)
        lock.delete()
        self._manifests.pop(entry, None)
        return path

    def _set_aside(self, entry: str) -> str:
        path = self._path("staging", uuid.uuid4().hex)
        os.rename(self._path("entries", entry), path)
        return path

    def _nbytes(self, entry: str) -> int:
        if entry not in self._sizes:
            manifest = read_manifest(self._path("entries", entry))
            if manifest is None:
                return 0  # damaged: it leaves when it is opened, or at the next start
            self._sizes[entry] = manifest.nbytes
        return self._sizes[entry]

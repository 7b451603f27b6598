"""What is put right when a cache is opened: the leftovers of crashes, and records of what has gone."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable

from loraplex_adapters.sources.cache.file_lock import FileLock
from loraplex_adapters.sources.cache.index import Index
from loraplex_adapters.sources.cache.manifest import read_manifest
from loraplex_adapters.sources.cache.staging import sweep

YOUNG_S = 60.0  # a record is written in a moment; what is older was left by a crash


def clean(root: str) -> None:
    """Under the cache's lock, as is the writing of every record of a new entry."""
    sweep(os.path.join(root, "staging"))
    entries = os.path.join(root, "entries")
    for name in os.listdir(entries):
        path = os.path.join(entries, name)
        if read_manifest(path) is None and os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
    left = set(os.listdir(entries))
    folder = os.path.join(root, "index")
    for name in os.listdir(folder):
        if not name.endswith(".json") and _is_young(os.path.join(folder, name)):
            continue  # somebody is writing it
        record = Index.read(os.path.join(folder, name))
        if record is None or record.entry not in left:
            with contextlib.suppress(FileNotFoundError):  # another process cleans too
                os.unlink(os.path.join(folder, name))
    _remove_free(
        os.path.join(root, "holds", name) for name in os.listdir(os.path.join(root, "holds")) if name not in left
    )
    _remove_free(os.path.join(root, "fetching", name) for name in os.listdir(os.path.join(root, "fetching")))


def _is_young(path: str) -> bool:
    try:
        return time.time() - os.stat(path).st_mtime < YOUNG_S
    except FileNotFoundError:
        return True  # it has its name now


def _remove_free(paths: Iterable[str]) -> None:
    for path in paths:
        lock = FileLock(path)
        if lock.acquire(wait=False):
            lock.delete()
            lock.release()

"""How many adapters Ray should take to be at hand in a replica."""

from __future__ import annotations

import statistics
from itertools import islice
from pathlib import Path

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.errors import AdapterError
from loraplex_adapters.fingerprint import FILES

# Looked at, of a folder that may have thousands.
SAMPLE = 200
# Where none is on the disk yet.
UNKNOWN = 100


def adapters_that_fit(catalog: Catalog, memory_bytes: int) -> int:
    """About as many as memory holds, at least one.

    Ray forgets the one that was used longest ago beyond this number, as the engine does when its memory is full. With
    far more, every replica would soon be said to have every adapter, and requests would go anywhere.

    Args:
        catalog: of the adapters. memory_bytes: for adapters, of one engine.
    """
    sizes = [size for name in islice(catalog.names(), SAMPLE) if (size := _disk_bytes(catalog, name))]
    if not sizes:
        return UNKNOWN
    return max(1, int(memory_bytes // statistics.median(sizes)))


def _disk_bytes(catalog: Catalog, name: str) -> int:
    try:
        source = catalog.resolve(name)
    except AdapterError:  # not fetched yet, or gone since it was listed
        return 0
    return sum(path.stat().st_size for file in FILES if (path := Path(source.path) / file).is_file())

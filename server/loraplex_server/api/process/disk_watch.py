"""How full the disk cache is, for the metrics: looked at beside the requests, since that reads the disk."""

from __future__ import annotations

import asyncio
import logging

from loraplex_adapters.catalog import Catalog
from loraplex_server.metrics import Metrics

logger = logging.getLogger(__name__)

INTERVAL_S = 5.0


async def watch_disk(catalog: Catalog, metrics: Metrics) -> None:
    """Look again and again; ends at once where the server has no such cache."""
    while True:
        try:
            usage = await catalog.disk_usage()
        except OSError as error:
            logger.warning("the disk cache cannot be looked at: %s", error)
        else:
            if usage is None:
                return
            metrics.disk_cache.absorb(usage)
        await asyncio.sleep(INTERVAL_S)

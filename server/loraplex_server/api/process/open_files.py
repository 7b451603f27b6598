"""How many files and connections the process may have open."""

from __future__ import annotations

import logging
import resource

logger = logging.getLogger(__name__)

# Each connection takes one, and shells often allow 1,024: a thousand clients that stream would be all there can be.
WANTED = 65_536


def allow_open_files() -> None:
    """Raise the soft limit as far as this process may, up to WANTED; engines that are started inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError) as error:  # macOS allows less than it says
        logger.warning("no more than %d files and connections can be open: %s", soft, error)

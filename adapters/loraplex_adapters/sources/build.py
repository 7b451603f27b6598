"""The sources of a server, from its settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loraplex_adapters.sources.address import Kind
from loraplex_adapters.sources.allowed import AllowedSources
from loraplex_adapters.sources.cache import DiskCache
from loraplex_adapters.sources.fetcher import Fetcher
from loraplex_adapters.sources.listing import Remote
from loraplex_adapters.sources.sources import Sources
from loraplex_adapters.sources.wanted import SizeLimits


def build_sources(
    patterns: Sequence[str],
    cache: Path,
    cache_bytes: int,
    *,
    largest_file: int = SizeLimits.tensors,
    revalidate_s: float = 60,
    ca_file: Path | None = None,
    private_hosts: bool = False,
) -> Sources:
    """Nothing is made on the disk where no pattern permits anything remote.

    Args:
        patterns: see AllowedSources.
        cache: folder of the disk cache.
        cache_bytes: its budget.
        largest_file: bytes; larger ones are not fetched.
        revalidate_s: how long a branch or a prefix is taken to be unchanged.
        ca_file: certificates to trust for https:// besides the usual ones.
        private_hosts: whether https:// hosts may lead into private networks.

    Raises:
        ValueError: a pattern means nothing.
        OSError: the folder cannot be used.
    """
    allowed = AllowedSources(patterns)
    kinds = allowed.kinds() - {"folder"}
    if not kinds:
        return Sources(allowed)
    remotes = {kind: _remote(kind, ca_file, private_hosts) for kind in kinds}
    fetcher = Fetcher(remotes, DiskCache(cache, cache_bytes), SizeLimits(largest_file), revalidate_s=revalidate_s)
    return Sources(allowed, fetcher)


def _remote(kind: Kind, ca_file: Path | None, private_hosts: bool) -> Remote:
    """Imported where it is needed: each brings a library that a server of local folders does without."""
    if kind == "hf":
        from loraplex_adapters.sources.remotes.hub import HubRemote

        return HubRemote()
    if kind == "https":
        from loraplex_adapters.sources.remotes.web import WebRemote

        return WebRemote(ca_file, private_hosts=private_hosts)
    from loraplex_adapters.sources.remotes.bucket import BucketRemote

    return BucketRemote()

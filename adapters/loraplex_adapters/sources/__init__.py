"""Where adapters come from: local folders and remote places, what may be fetched from them, and copies on the disk."""

from loraplex_adapters.sources.address import Address, parse_address
from loraplex_adapters.sources.allowed import AllowedSources
from loraplex_adapters.sources.build import build_sources
from loraplex_adapters.sources.cache import DiskCache
from loraplex_adapters.sources.fetcher import Fetcher
from loraplex_adapters.sources.held import HeldAdapter, HeldFolder
from loraplex_adapters.sources.sources import Sources
from loraplex_adapters.sources.wanted import SizeLimits

__all__ = [
    "Address",
    "AllowedSources",
    "DiskCache",
    "Fetcher",
    "HeldAdapter",
    "HeldFolder",
    "SizeLimits",
    "Sources",
    "build_sources",
    "parse_address",
]

"""Where adapters come from: local folders and remote places, what may be fetched from them, and copies on the disk."""

from loraplex_adapters.sources.address import Address, parse_address
from loraplex_adapters.sources.allowed import AllowedSources
from loraplex_adapters.sources.held import HeldAdapter, HeldFolder

__all__ = [
    "Address",
    "AllowedSources",
    "HeldAdapter",
    "HeldFolder",
    "parse_address",
]

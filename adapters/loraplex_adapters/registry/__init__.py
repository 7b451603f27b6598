"""The names of adapters: which may be, what they mean, and that they survive a restart."""

from loraplex_adapters.registry.entry import CatalogEntry
from loraplex_adapters.registry.registry import Registered, Registry

__all__ = ["CatalogEntry", "Registered", "Registry"]

"""Copies of remote adapters on the disk: bounded, checked, shared by the processes of one machine."""

from loraplex_adapters.sources.cache.disk_cache import DiskCache
from loraplex_adapters.sources.cache.index import IndexRecord
from loraplex_adapters.sources.cache.staging import Staging
from loraplex_adapters.sources.cache.usage import DiskUsage

__all__ = ["DiskCache", "DiskUsage", "IndexRecord", "Staging"]

"""The catalogue of a server, as its settings want it."""

from __future__ import annotations

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.errors import RegistryError
from loraplex_adapters.registry import Registry
from loraplex_adapters.sources import build_sources
from loraplex_server.api.model_names import BASE_ALIAS
from loraplex_server.api.start_error import StartError
from loraplex_server.settings import ServeSettings
from loraplex_server.settings.user_cache import user_cache


def build_catalog(settings: ServeSettings) -> Catalog:
    """What there is in the folder of adapters, and what was added.

    Raises:
        StartError: the folder of the state or of the cache cannot be used, or an allowed source is none.
    """
    cache = settings.adapter_cache or user_cache("adapters")
    try:
        sources = build_sources(
            settings.allow_adapter_source,
            cache,
            settings.adapter_cache_size,
            largest_file=settings.adapter_max_file_size,
        )
        registry = Registry(settings.state_dir)
    except ValueError as error:
        raise StartError(f"--allow-adapter-source: {error}") from error
    except OSError as error:
        raise StartError(f"--adapter-cache {cache} cannot be used: {error.strerror or error}") from error
    except RegistryError as error:
        raise StartError(f"--state-dir: {error}") from error
    reserved = {BASE_ALIAS, *settings.base_names}
    return Catalog(settings.adapters, registry=registry, sources=sources, reserved=reserved)

"""The catalogue of a server, as its settings want it."""

from __future__ import annotations

import os
from pathlib import Path

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.errors import AdapterError, RegistryError
from loraplex_adapters.fingerprint import FILES
from loraplex_adapters.registry import Registry
from loraplex_adapters.sources import build_sources
from loraplex_server.api.adapters.model_names import BASE_ALIAS
from loraplex_server.api.process.start_error import StartError
from loraplex_server.settings import ServeSettings
from loraplex_server.settings.user_cache import user_cache


def build_catalog(settings: ServeSettings) -> Catalog:
    """What there is in the folder of adapters, and what was added.

    Raises:
        StartError: the folder of the state or of the cache cannot be used, or an allowed source is none.
    """
    cache = settings.adapter_cache or user_cache("adapters")
    lent = {module.name: _source(module.path) for module in settings.lora_modules}
    try:
        sources = build_sources(
            # Who starts the server permits what it names.
            [*settings.allow_adapter_source, *map(_permitted, lent.values())],
            cache,
            settings.adapter_cache_size,
            largest_file=settings.adapter_max_file_size,
        )
        registry = Registry(settings.state_dir)
    except ValueError as error:
        option = "--lora-modules or --allow-adapter-source" if lent else "--allow-adapter-source"
        raise StartError(f"{option}: {error}") from error
    except OSError as error:
        raise StartError(f"--adapter-cache {cache} cannot be used: {error.strerror or error}") from error
    except RegistryError as error:
        raise StartError(f"--state-dir: {error}") from error
    reserved = {BASE_ALIAS, *settings.base_names}
    catalog = Catalog(settings.adapters, registry=registry, sources=sources, reserved=reserved)
    try:
        for name, source in lent.items():
            catalog.lend(name, source)
    except AdapterError as error:
        raise StartError(f"--lora-modules: {error}") from error
    return catalog


def _source(path: str) -> str:
    """A module's path as a source: a folder's whole path, or the place elsewhere as it is."""
    folder = Path(path).expanduser()
    return str(folder.absolute()) if folder.is_dir() else path


def _permitted(source: str) -> str:
    """What permits a source: of a folder whose files are links, as in the hub's cache, the folder that has it all."""
    if not source.startswith("/"):
        return source
    real = [os.path.realpath(source), *(os.path.realpath(os.path.join(source, file)) for file in FILES)]
    common = os.path.commonpath(real)
    return source if common == "/" else common

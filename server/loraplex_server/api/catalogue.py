"""The catalogue of a server, as its settings want it."""

from __future__ import annotations

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.errors import RegistryError
from loraplex_adapters.registry import Registry
from loraplex_adapters.sources import AllowedSources
from loraplex_adapters.sources.sources import Sources
from loraplex_server.api.model_names import BASE_ALIAS
from loraplex_server.api.start_error import StartError
from loraplex_server.settings import ServeSettings


def build_catalog(settings: ServeSettings) -> Catalog:
    """What there is in the folder of adapters, and what was added.

    Raises:
        StartError: the state folder cannot be used.
    """
    try:
        registry = Registry(settings.state_dir)
    except RegistryError as error:
        raise StartError(f"--state-dir: {error}") from error
    return Catalog(
        settings.adapters,
        registry=registry,
        sources=Sources(AllowedSources(settings.allow_adapter_source)),
        reserved={BASE_ALIAS, *settings.base_names},
    )

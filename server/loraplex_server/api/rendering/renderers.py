"""Which renderer reads a request: the base's, or that of the files that came with its adapter."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeVar

from loraplex_adapters.source import AdapterSource
from loraplex_server.api.errors import bad_request, unavailable
from loraplex_server.api.rendering.adapter_renderer import build_adapter_renderer
from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.rendering.tokenizer_files import TokenizerFileError, TokenizerFiles, read_files, signs

# Tokenizers that differ from the base's, each tens of megabytes with a large vocabulary.
MOST_RENDERERS = 16
# Folders whose files were read once; a few hundred bytes each.
MOST_FOLDERS = 10_000

_Signs = tuple[str, ...]
_K = TypeVar("_K")
_V = TypeVar("_V")


class Renderers:
    """Adapters whose files say what the base's say share the base's renderer; those with equal files share one.

    Args:
        base: of the model.
    """

    def __init__(self, base: Renderer) -> None:
        self.base = base
        self._digests: OrderedDict[tuple[str, _Signs], str] = OrderedDict()  # of folders, as they were seen
        self._like_base: OrderedDict[str, None] = OrderedDict()  # digests
        self._builds: OrderedDict[str, asyncio.Task[Renderer]] = OrderedDict()  # by digest
        self._core = asyncio.Semaphore(1)  # a build takes one, and no more than one is worth it

    async def of(self, sources: Sequence[AdapterSource]) -> Renderer:
        """The one that reads a request for these adapters.

        Raises:
            ApiError: 400; an adapter's tokenizer cannot be used, or the adapters of a sum have different ones. 503;
                there is no room to load it.
        """
        found = [await self._of(source) for source in sources]
        for source, renderer in zip(sources, found, strict=True):
            if renderer is not found[0]:
                message = (
                    f"The adapters '{sources[0].name}' and '{source.name}' have different tokenizers or chat "
                    "templates, so the same text means different tokens to them: they cannot be added up"
                )
                raise bad_request(message, param="adapters", code="different_tokenizers")
        return found[0] if found else self.base

    async def _of(self, source: AdapterSource) -> Renderer:
        seen = signs(source.path)
        if not seen:
            return self.base
        try:
            digest = self._digests.get((source.path, seen), "")
            if digest not in self._like_base and digest not in self._builds:
                files = await asyncio.to_thread(read_files, source.path)
                digest = files.digest
                _keep(self._digests, (source.path, seen), digest, MOST_FOLDERS)
                if digest not in self._like_base and digest not in self._builds:
                    _keep(self._builds, digest, asyncio.create_task(self._build(digest, files)), MOST_RENDERERS)
            if digest in self._like_base:
                return self.base
            self._builds.move_to_end(digest)
            # One build for all who wait, whoever hangs up; its failure is kept too: it cost as much as a success.
            return await asyncio.shield(self._builds[digest])
        except TokenizerFileError as error:
            message = f"adapter '{source.name}' is refused: its tokenizer cannot be used: {error}"
            raise bad_request(message, param="model", code="adapter_refused") from error
        except OSError as error:
            message = f"The tokenizer of adapter '{source.name}' cannot be loaded now: {error.strerror}"
            raise unavailable(message, "disk_full") from error

    async def _build(self, digest: str, files: TokenizerFiles) -> Renderer:
        async with self._core:
            try:
                renderer = await asyncio.to_thread(build_adapter_renderer, files, self.base)
            except OSError:
                self._builds.pop(digest, None)  # it says nothing of the files, and may pass
                raise
        if renderer is self.base:
            self._builds.pop(digest, None)  # gone already where many others came meanwhile
            _keep(self._like_base, digest, None, MOST_FOLDERS)
        return renderer


def _keep(cache: OrderedDict[_K, _V], key: _K, value: _V, most: int) -> None:
    """Add an entry; the one that was used longest ago leaves when there are too many."""
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > most:
        cache.popitem(last=False)

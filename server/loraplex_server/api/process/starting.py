"""While an engine starts: what is loaded beside it, and what is said where it cannot."""

from __future__ import annotations

import asyncio

from loraplex_server.api.process.server import LAST_WORDS_S
from loraplex_server.api.process.start_error import StartError
from loraplex_server.api.rendering.renderer import Renderer, RendererError, load_renderer
from loraplex_server.engine.errors import EngineStartError
from loraplex_server.engine.messages import EngineInfo
from loraplex_server.settings import ServeSettings


async def load_renderer_beside(settings: ServeSettings, starting: asyncio.Task[EngineInfo]) -> Renderer:
    """Load the tokenizer while the engine starts. Where both fail, the engine knows better why.

    Raises:
        StartError: there is none to be loaded.
    """
    try:
        return await asyncio.to_thread(load_renderer, settings.model, settings.chat_template)
    except RendererError as error:
        await asyncio.wait({starting}, timeout=LAST_WORDS_S)
        if starting.done():
            raise_start_error(starting)
        raise StartError(str(error)) from error


def raise_start_error(starting: asyncio.Task[EngineInfo]) -> None:
    """Of an engine that is done with starting; nothing where that went well.

    Raises:
        StartError: why it cannot start.
    """
    error = starting.exception()
    if isinstance(error, EngineStartError):
        raise StartError(str(error)) from error
    if error is not None:
        raise error

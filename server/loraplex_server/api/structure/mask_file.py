"""A tokenizer as a file, for the engine to find the tokens that a grammar allows."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import weakref

from tokenizers import Tokenizer

from loraplex_server.api.errors import unavailable
from loraplex_server.api.rendering.vocabulary import Vocabulary
from loraplex_server.engine.grammars import token_file


class MaskFile:
    """Written when the first request needs it, and there for as long as this object.

    Args:
        tokenizer: that reads and writes the requests. vocabulary: the same one's.
    """

    def __init__(self, tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._lock = threading.Lock()
        self._path = ""

    @property
    def path(self) -> str:
        """Where it is, once it is written.

        Raises:
            RuntimeError: it was not.
        """
        if not self._path:
            raise RuntimeError("a grammar goes to the engine that was not checked")
        return self._path

    async def write(self) -> None:
        """Have it written.

        Raises:
            ApiError: 503; there is no room for it.
        """
        if not self._path:
            await asyncio.to_thread(self._write)

    def _write(self) -> None:
        with self._lock:
            if self._path:
                return
            texts = self._vocabulary.texts()
            content = token_file.encode(token_file.TokenFile(self._tokenizer.to_str(), texts))
            try:
                handle, path = tempfile.mkstemp(prefix="loraplex-", suffix=".tokenizer")
                weakref.finalize(self, os.unlink, path)
                with open(handle, "wb") as file:
                    file.write(content)
            except OSError as error:
                raise unavailable(
                    f"The tokenizer cannot be written for the engine: {error.strerror}", "disk_full"
                ) from error
            self._path = path

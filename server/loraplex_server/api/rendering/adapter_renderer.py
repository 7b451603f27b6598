"""A renderer from the files that came with an adapter."""

from __future__ import annotations

import errno
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jinja2
from transformers import AutoTokenizer

from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.rendering.tokenizer_files import TokenizerFileError, TokenizerFiles, read_files

logger = logging.getLogger(__name__)

# What says nothing of the files: transformers has OSErrors of its own, for files that it cannot use.
_SHORT = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)


def build_adapter_renderer(files: TokenizerFiles, base: Renderer) -> Renderer:
    """The renderer of an adapter's own files; what they leave open is as the base has it.

    It is the base's itself where the files say the same. No code of theirs is run.

    Raises:
        TokenizerFileError: they make no tokenizer.
        OSError: this machine has no room for them, or no file descriptors.
    """
    with tempfile.TemporaryDirectory(prefix="loraplex-tokenizer-") as name:
        folder = Path(name)
        base.save(folder)
        saved = read_files(name)
        for file in folder.iterdir():
            shutil.rmtree(file) if file.is_dir() else file.unlink()
        files.over(saved).write(folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            if tokenizer.chat_template is None:
                tokenizer.chat_template = base.chat_template
            for template in _templates(tokenizer.chat_template):
                jinja2.Environment().parse(template)
            renderer = Renderer(tokenizer, _end_tokens(tokenizer, base), trusted=False)
        except Exception as error:  # transformers and tokenizers raise whatever comes
            if isinstance(error, OSError) and error.errno in _SHORT:
                raise
            logger.info("an adapter's tokenizer cannot be loaded", exc_info=error)
            reason = " ".join(str(error).replace(name, "the folder").split())[:300]
            raise TokenizerFileError(f"{type(error).__name__}: {reason}") from error
    return base if renderer.identity == base.identity else renderer


def _templates(chat_template: object) -> Iterator[str]:
    if isinstance(chat_template, dict):
        yield from chat_template.values()
    elif isinstance(chat_template, str):
        yield chat_template


def _end_tokens(tokenizer: object, base: Renderer) -> list[int]:
    """The adapter's end of a sequence, and the model's ends, where those ids still are the same tokens."""
    own: int | None = getattr(tokenizer, "eos_token_id", None)
    backend = tokenizer.backend_tokenizer  # type: ignore[attr-defined]
    names = {id: base.tokenizer.id_to_token(id) for id in base.end_tokens}
    kept = [id for id, name in names.items() if name is not None and backend.id_to_token(id) == name]
    return kept if own is None else [*kept, own]

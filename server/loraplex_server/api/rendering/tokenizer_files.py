"""The tokenizer and chat template that an adapter's folder holds beside its weights."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Any of these is a vocabulary of its own; the base's is then left out.
VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)
CONFIG = "tokenizer_config.json"
LEGACY = ("special_tokens_map.json", "added_tokens.json")
TEMPLATE = "chat_template.jinja"
NAMES = (*VOCABULARIES, CONFIG, *LEGACY, TEMPLATE)
# A folder of more templates, by name, such as tool_use.jinja.
MORE_TEMPLATES = "additional_chat_templates"
MOST_TEMPLATES = 16

# Gemma's tokenizer.json, the largest of the served families, has 33 MB.
LARGEST = 128 << 20


class TokenizerFileError(Exception):
    """A file cannot be used; the message names it, never the folder."""


@dataclass(frozen=True)
class TokenizerFiles:
    """Some of NAMES, and of MORE_TEMPLATES, by content."""

    contents: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """Equal for equal files."""
        sha = hashlib.sha256()
        for name, content in sorted(self.contents.items()):
            sha.update(f"{name}:{len(content)}:".encode())
            sha.update(content)
        return sha.hexdigest()

    def over(self, base: TokenizerFiles) -> TokenizerFiles:
        """These files, and those of the base that they leave as they are."""
        hidden = set(self.contents)
        if hidden & set(VOCABULARIES):
            hidden |= {*VOCABULARIES, *LEGACY}
        if CONFIG in hidden:  # it may hold the special tokens and the template
            hidden |= {*LEGACY, TEMPLATE}
        if any(map(_is_template, hidden)):
            hidden |= {name for name in base.contents if _is_template(name)}
        kept = {name: content for name, content in base.contents.items() if name not in hidden}
        return TokenizerFiles({**kept, **self.contents})

    def write(self, folder: Path) -> None:
        """Put them into a folder, for transformers to load.

        Raises:
            TokenizerFileError: tokenizer_config.json is no JSON object.
        """
        for name, content in self.contents.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(_without_paths(content) if name == CONFIG else content)


def signs(folder: str) -> tuple[str, ...]:
    """Changes whenever one of the files does; empty where there is none. Cheap: it opens nothing."""
    found = ((name, _sign(os.path.join(folder, name))) for name in (*NAMES, *_more(folder)))
    return tuple(f"{name}:{sign}" for name, sign in found if sign is not None)


def read_files(folder: str) -> TokenizerFiles:
    """All of NAMES that a folder has, and its MORE_TEMPLATES.

    Raises:
        TokenizerFileError: one is no regular file, is too large, cannot be read, or is a link out of the folder: a
            template is shown to whoever sends messages, so a link could show any file of this machine. Or there are
            more than MOST_TEMPLATES.
    """
    more = _more(folder)
    if len(more) > MOST_TEMPLATES:
        raise TokenizerFileError(f"{MORE_TEMPLATES} has more than {MOST_TEMPLATES} files")
    contents = {}
    for name in (*NAMES, *more):
        content = _read(folder, name)
        if content is not None:
            contents[name] = content
    return TokenizerFiles(contents)


def _is_template(name: str) -> bool:
    return name == TEMPLATE or name.startswith(MORE_TEMPLATES)


def _more(folder: str) -> list[str]:
    try:
        found = os.listdir(os.path.join(folder, MORE_TEMPLATES))
    except OSError:  # there are none, which is usual
        return []
    return sorted(f"{MORE_TEMPLATES}/{name}" for name in found if name.endswith(".jinja"))


def _sign(path: str) -> str | None:
    try:
        status = os.stat(path)
    except OSError:  # absent, or a link to nothing, which reading it will tell
        return "link" if os.path.islink(path) else None
    return f"{status.st_ino:x}.{status.st_size:x}.{status.st_mtime_ns:x}"


def _read(folder: str, name: str) -> bytes | None:
    path = os.path.join(folder, name)
    if not os.path.lexists(path):
        return None
    home = os.path.realpath(folder)
    if os.path.commonpath([home, os.path.realpath(path)]) != home:
        raise TokenizerFileError(f"{name} is a link that leaves the adapter's folder; put a copy there")
    try:
        # Without waiting: opening a pipe waits for its writer.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise TokenizerFileError(f"{name} is no regular file")
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise TokenizerFileError(f"{name} cannot be read: {error.strerror}") from error
    if len(content) > LARGEST:
        raise TokenizerFileError(f"{name} is larger than {LARGEST} bytes")
    return content


def _without_paths(config: bytes) -> bytes:
    """Old configs name files of the machine that wrote them, which transformers would look for on this one."""
    try:
        fields = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise TokenizerFileError(f"{CONFIG} is no JSON: {str(error)[:100]}") from error
    if not isinstance(fields, dict):
        raise TokenizerFileError(f"{CONFIG} is no JSON object")
    return json.dumps({key: value for key, value in fields.items() if not key.endswith(("_file", "_files"))}).encode()

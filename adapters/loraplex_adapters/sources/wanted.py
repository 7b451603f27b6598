"""Which files of a place are fetched, and how large each may be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from loraplex_adapters.errors import SourceNotFoundError, SourceTooLargeError
from loraplex_adapters.fingerprint import CONFIG_FILE, FILES, PICKLE_FILE, TENSOR_FILE
from loraplex_adapters.sources.address import Address
from loraplex_adapters.sources.listing import Listing

# The adapter's own tokenizer and chat template, as transformers saves them. No pickles, no code.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
)
WANTED = (*FILES, *TOKENIZER_FILES)
LARGEST_CONFIG = 1 << 20
LARGEST_TOKENIZER = 128 << 20  # the largest tokenizer.json of the served families has 33 MB


@dataclass(frozen=True)
class SizeLimits:
    """Args: tensors: most bytes of the tensor file. The other files have limits that no honest one meets."""

    tensors: int = 8 << 30

    def of(self, name: str) -> int:
        """Most bytes of a file."""
        if name == TENSOR_FILE:
            return self.tensors
        return min(self.tensors, LARGEST_CONFIG if name == CONFIG_FILE else LARGEST_TOKENIZER)


def require_fetchable(address: Address, listing: Listing, limits: SizeLimits) -> None:
    """Look at what is there before any of it is fetched.

    Raises:
        SourceNotFoundError: a file that every adapter has is missing.
        SourceTooLargeError: one is larger than it may be.
    """
    names = {file.name for file in listing.files}
    if missing := [name for name in FILES if name not in names]:
        raise SourceNotFoundError(f"'{address.text}' has no {' and no '.join(missing)}{_hint(missing)}")
    for file in listing.files:
        most = limits.of(file.name)
        if file.size > most:
            raise SourceTooLargeError(
                f"{file.name} at '{address.text}' has {file.size} bytes; {most} are taken at most"
            )


def _hint(missing: Collection[str]) -> str:
    if TENSOR_FILE not in missing:
        return ""
    return f"; weights are taken as safetensors alone, never as pickles such as {PICKLE_FILE}"

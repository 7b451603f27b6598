"""The exact bytes of each token, as the logprobs formats show them."""

from __future__ import annotations

import re

from tokenizers import Tokenizer

_BYTE_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")


class Vocabulary:
    """Token ids to bytes and strings.

    A token that is only part of a character reads as the replacement character, as in vLLM (OpenAI writes
    `bytes:\\xe2`); its `bytes` are exact either way.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self.added = {id: token.content for id, token in added.items()}
        self.special = {id: token.content for id, token in added.items() if token.special}
        self._byte_level = "ByteLevel" in repr(tokenizer.decoder)
        self._bytes: dict[int, bytes] = {}

    def raw(self, token_id: int) -> bytes:
        """The token's bytes; none for an id beyond the tokenizer (models pad their vocabulary)."""
        known = self._bytes.get(token_id)
        if known is None:
            known = self._bytes[token_id] = self._look_up(token_id)
        return known

    def text(self, token_id: int) -> str:
        """The token alone, as a string."""
        return self.raw(token_id).decode("utf-8", "replace")

    def texts(self) -> list[bytes | None]:
        """Of each id, what the token adds to a text; None for special tokens, and ids that stand for nothing."""
        known: dict[int, bytes | None] = {id: self._look_up(id) for id in self._tokenizer.get_vocab().values()}
        for id, token in self._tokenizer.get_added_tokens_decoder().items():
            if token.special:
                known[id] = None
        return [known.get(id) for id in range(max(known, default=-1) + 1)]

    def _look_up(self, token_id: int) -> bytes:
        if token_id in self.added:
            return self.added[token_id].encode()
        token = self._tokenizer.id_to_token(token_id)
        if token is None:
            return b""
        if self._byte_level:
            return b"".join(_BYTES.get(character, character.encode()) for character in token)
        fallback = _BYTE_FALLBACK.fullmatch(token)
        return bytes.fromhex(fallback[1]) if fallback else token.replace("▁", " ").encode()


def _byte_level_alphabet() -> dict[str, bytes]:
    """Characters in which byte-level BPE writes bytes (GPT-2's `bytes_to_unicode`).

    Printable ones stand for themselves, the rest come in order from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    alphabet = {chr(byte): bytes([byte]) for byte in printable}
    others = (byte for byte in range(256) if byte not in printable)
    return alphabet | {chr(0x100 + index): bytes([byte]) for index, byte in enumerate(others)}


_BYTES = _byte_level_alphabet()

"""The text of a key: what a client sends, and what is kept of it."""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib

PREFIX = "lp-"
_BYTES = 32
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_BODY = 43  # digits of 256 bits in base 62
_CHECK = 6  # digits of 32 bits


def new_secret() -> str:
    """A key that nobody has: `lp-`, 256 random bits, and their CRC-32, all in base 62.

    By prefix and checksum, scanners of repositories and logs tell a key that leaked from a text that only looks like
    one, without asking anybody.
    """
    body = _base62(int.from_bytes(secrets.token_bytes(_BYTES), "big"), _BODY)
    return PREFIX + body + _checksum(body)


def is_secret(text: str) -> bool:
    """Whether a text is a key of ours, every character of it; somebody's or nobody's."""
    body, check = text[len(PREFIX) : -_CHECK], text[-_CHECK:]
    whole = text.startswith(PREFIX) and len(body) == _BODY and all(digit in _DIGITS for digit in body)
    return whole and check == _checksum(body)


def digest_of(secret: str) -> bytes:
    """What is kept of a key, and what it is looked up by.

    Plain SHA-256, neither salted nor slow: those defend texts that somebody could guess, and 256 random bits nobody
    can. How long a look-up in a table takes may tell something of a digest, but nobody can aim at one.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))

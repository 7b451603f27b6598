"""What no line, error or answer may hold: keys, tokens, passwords in URLs, signatures of links."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from loraplex_server.logs.secrets import secrets_in, spellings

HIDDEN = "[redacted]"

# A value ends where a quote, a backslash or a space does: so the JSON around it stays what it is.
_VALUE = r"[^\s\"'`\\&;,<>\[\](){}]"
_SEPARATOR = r"(?:\\?[\"'])?\s*(?:[:=]|,(?=\s*b?\\?[\"']))\s*(?:b(?=\\?[\"']))?(?:\\?[\"'])?"
_SCHEME = "(?:bearer|basic|digest|token)"
_HEADERS = "authorization|(?:x-)?api[-_]?key|admin[-_]key|cookie|x-amz-security-token"
_FIELDS = "password|passwd|client_secret|secret(?:_access)?_key|(?:access|refresh|session|security|auth|hf)_token"
_SIGNED = r"x-amz-[a-z-]+|x-goog-[a-z-]+|signature|sig|token|awsaccesskeyid|googleaccessid|policy"

# Each pattern with words, in small letters, without one of which it cannot match: looking for these is a hundred times
# faster. In front of a key that is known by its form stands no letter.
_PATTERNS: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    (("://",), re.compile(r"(://)[^/\s@\"'\\<>]+@"), rf"\1{HIDDEN}@"),
    (("://",), re.compile(r"(https?://[^\s\"'\\<>?]*\?)[^\s\"'\\<>]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (
        ("auth", "key", "cookie", "security", "passw", "secret", "access_t", "refresh_t", "session_t", "hf_t"),
        re.compile(
            rf"(?<![a-z])((?:{_HEADERS}|{_FIELDS}){_SEPARATOR})(?:{_SCHEME}\s+|(?!{_SCHEME}\b)){_VALUE}{{4,}}",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (("bearer",), re.compile(r"\b(bearer\s+)[a-z0-9._~+/=-]{6,}", re.IGNORECASE), rf"\1{HIDDEN}"),
    (
        ("x-amz", "x-goog", "sig", "token=", "accessid=", "keyid=", "policy="),
        re.compile(rf"(?<![a-z-])((?:{_SIGNED})=){_VALUE}{{4,}}", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
    (("hf_",), re.compile(r"\bhf_[A-Za-z0-9]{16,}"), HIDDEN),
    (("lp-",), re.compile(r"\blp-[0-9A-Za-z]{20,}"), HIDDEN),
    (("sk-",), re.compile(r"\bsk-[A-Za-z0-9_-]{16,}"), HIDDEN),
    (("akia", "asia"), re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"), HIDDEN),
    (("eyj",), re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.?[A-Za-z0-9_-]*"), HIDDEN),
)


class Redactor:
    """Args: secrets: that are known by heart, beside all that look like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known = spellings(secrets)

    def __call__(self, text: str) -> str:
        """The text without secrets; the same, where it has none."""
        for form, exactly in self._known:
            if form in text:
                text = exactly.sub(HIDDEN, text)
        small = text.lower()
        for words, pattern, shown in _PATTERNS:
            if any(word in small for word in words):
                text = pattern.sub(shown, text)
        return text


class _Process:
    """Of this process: what its settings and its environment hold."""

    redactor = Redactor()


def know_secrets(secrets: Iterable[str] = ()) -> None:
    """From now on these, and those of the environment, are taken out of what this process says."""
    _Process.redactor = Redactor({*secrets, *secrets_in(os.environ)})


def redact(text: str) -> str:
    """A text for a log or a client, without secrets."""
    return _Process.redactor(text)

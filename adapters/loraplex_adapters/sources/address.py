"""The text that says where an adapter is, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from loraplex_adapters.errors import SourceNotAllowedError

Kind = Literal["folder", "hf", "s3", "gs", "https"]

LONGEST = 1024  # characters
FORMS = "an absolute folder, org/name[@revision], s3://bucket/prefix, gs://bucket/prefix or https://host/prefix"

# What the hub lets organisations and repositories be called.
_HUB_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,254}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\])")
# No character that a URL gives a meaning of its own: no %, ?, #, &, and no colon or backslash.
_SEGMENT = re.compile(r"[A-Za-z0-9 ._~+=,@!()'-]+")


@dataclass(frozen=True)
class Address:
    """One place. Two texts of the same place give equal addresses.

    Args:
        kind: of the place.
        place: bucket, `host[:port]`, `org/name`; empty for a folder.
        path: absolute folder, or the prefix in the bucket or on the host, without slashes at its ends.
        revision: of a hub repository: branch, tag or commit; None is its main branch.
    """

    kind: Kind
    place: str
    path: str
    revision: str | None = None

    @property
    def text(self) -> str:
        """The one spelling of it; there is never a secret in it, for none is taken."""
        if self.kind == "folder":
            return self.path
        if self.kind == "hf":
            return f"hf://{self.place}" + (f"@{self.revision}" if self.revision else "")
        return f"{self.kind}://{self.place}" + (f"/{self.path}" if self.path else "")

    @property
    def immutable(self) -> bool:
        """Whether what is there can never change: a commit of a hub repository."""
        return self.kind == "hf" and self.revision is not None and _COMMIT.fullmatch(self.revision) is not None


def parse_address(text: str) -> Address:
    """Take a source's text apart. Nothing is looked at: this says only what is meant.

    Raises:
        SourceNotAllowedError: it is none of the forms, tries to climb out of one, or carries credentials.
    """
    if len(text) > LONGEST or not text.isprintable() or not text:
        raise SourceNotAllowedError(f"a source is {FORMS}, of at most {LONGEST} printable characters")
    if text.startswith("/"):
        return Address("folder", "", "/" + _path(text, text.strip("/"), strict=False))
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _hub(text, text)
    scheme = scheme.lower()
    if scheme == "hf":
        return _hub(text, rest)
    if scheme not in ("s3", "gs", "https"):
        more = "; http is not encrypted and not taken" if scheme == "http" else ""
        raise SourceNotAllowedError(f"source {_shown(text)} is not {FORMS}{more}")
    place, _, path = rest.partition("/")
    if "@" in place:
        raise SourceNotAllowedError("a source carries no user name and password; credentials belong into the server")
    if scheme == "https":
        if "?" in path or "#" in path:
            raise SourceNotAllowedError("a source has no '?' or '#': it is a folder, and signed links expire")
        return Address("https", _host(text, place.lower()), _path(text, path.strip("/")))
    if not _BUCKET.fullmatch(place):
        raise SourceNotAllowedError(f"source {_shown(text)}: '{place:.80}' is no bucket")
    return Address("s3" if scheme == "s3" else "gs", place, _path(text, path.strip("/")))


def _hub(text: str, rest: str) -> Address:
    repository, at, revision = rest.partition("@")
    parts = repository.split("/")
    if len(parts) != 2 or not all(_HUB_PART.fullmatch(part) for part in parts) or ".." in repository:
        raise SourceNotAllowedError(f"source {_shown(text)} is not {FORMS}")
    if at and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise SourceNotAllowedError(f"source {_shown(text)}: what follows '@' is no revision")
    return Address("hf", repository, "", revision or None)


def _host(text: str, place: str) -> str:
    host, port = place, "443"
    if (found := re.fullmatch(r"(.*[^:\]]|\[.*\]):([0-9]{1,5})", place)) is not None:
        host, port = found.groups()
    if not _HOST.fullmatch(host) or not 0 < int(port) < 65536:
        raise SourceNotAllowedError(f"source {_shown(text)}: '{place:.80}' is no host")
    return host if port == "443" else f"{host}:{int(port)}"


def _path(text: str, path: str, *, strict: bool = True) -> str:
    """`strict`: no characters that mean something in a URL."""
    if not path:
        return ""
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise SourceNotAllowedError(f"source {_shown(text)}: a path has no empty part, no '.' and no '..'")
        if strict and not _SEGMENT.fullmatch(part):
            raise SourceNotAllowedError(f"source {_shown(text)}: '{part:.80}' has a character that is not taken here")
    return path


def _shown(text: str) -> str:
    """For messages: short, and without what may be a password."""
    return "'" + re.sub(r"//[^/@]*@", "//…@", re.split(r"[?#]", text)[0])[:100] + "'"

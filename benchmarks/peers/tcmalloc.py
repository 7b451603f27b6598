"""tcmalloc, which vLLM's CPU build should be preloaded with: without it LoRA is less than half as fast there."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from peers.steps import PEERS, PeerError, run

PACKAGE = "libtcmalloc-minimal4"
_NAME = "libtcmalloc_minimal.so.4"
_UNPACKED = PEERS / "tcmalloc"


def find() -> Path | None:
    """The library, of the system or as unpacked here."""
    return next((path for folder in (Path("/usr/lib"), _UNPACKED) for path in sorted(folder.rglob(_NAME))), None)


def fetch(console: Console) -> Path:
    """The library; where the system has none, out of Debian's package, which is unpacked and not installed.

    Raises:
        PeerError: this is no Debian, or its package cannot be had.
    """
    found = find()
    if found is None:
        try:
            run(console, ["apt-get", "download", PACKAGE], cwd=_UNPACKED)
            for package in _UNPACKED.glob(f"{PACKAGE}_*.deb"):
                run(console, ["dpkg-deb", "-x", package, _UNPACKED])
        except PeerError as error:
            raise PeerError(f"install {_NAME} by hand (gperftools): {error}") from error
        found = find()
    if found is None:
        raise PeerError(f"{PACKAGE} holds no {_NAME}")
    return found

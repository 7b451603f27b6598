"""The certificate that the server shows, and the new one that takes its place while it runs."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from loraplex_server.api.process.start_error import StartError

logger = logging.getLogger(__name__)


class Certificate:
    """A chain and its key, in files that somebody else renews.

    Args:
        chain: PEM; the key too, where `key` is None. key: PEM.

    Raises:
        StartError: they cannot be read, or do not belong together.
    """

    def __init__(self, chain: Path, key: Path | None) -> None:
        self.chain, self.key = chain, key
        self._written = self._times()
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key)
        except OSError as error:  # ssl's own errors are among them
            raise StartError(f"--ssl-certfile {chain}: {error}") from error

    def refresh(self, context: ssl.SSLContext) -> None:
        """Show what is in the files now, where they changed; connections that are open keep what they have."""
        written = self._times()
        if written == self._written:
            return
        try:
            # Into another one first: one that was half written must not spoil what is shown.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.chain, self.key)
            context.load_cert_chain(self.chain, self.key)
        except OSError as error:
            logger.warning("the new certificate cannot be used, the old one stays: %s", error)
            return
        self._written = written
        logger.info("the certificate was read again")

    def _times(self) -> list[int]:
        files = [file for file in (self.chain, self.key) if file is not None]
        return [file.stat().st_mtime_ns if file.exists() else 0 for file in files]

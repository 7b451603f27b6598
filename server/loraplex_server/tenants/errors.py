"""What can be wrong with keys and with what is remembered of tenants."""

from __future__ import annotations


class KeyStoreError(Exception):
    """Keys cannot be read or written; written for the person who runs the server."""


class UnknownKeyError(Exception):
    """No key is meant by that."""


class UsageError(Exception):
    """What was used cannot be read or written; written for the person who runs the server."""

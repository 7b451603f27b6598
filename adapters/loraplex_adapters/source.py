"""Where an adapter's files are, and a cheap sign of whether they changed."""

from __future__ import annotations

import msgspec


class AdapterSource(msgspec.Struct, frozen=True):
    """A folder that holds an adapter, as it was seen at one moment.

    `fingerprint` comes from the files' sizes, inodes and modification times: it says when to look again, no more.
    What identifies the weights is their generation, the hash of the content, which the loader computes.
    """

    name: str
    path: str
    fingerprint: str

"""Whether new requests are taken, and how many are being answered."""

from __future__ import annotations


class Drain:
    """Once begun, it never ends: the server is on its way out."""

    def __init__(self) -> None:
        self.begun = False
        self.in_flight = 0

    def begin(self) -> None:
        """Take no new requests."""
        self.begun = True

    @property
    def done(self) -> bool:
        """Whether nothing is left to wait for."""
        return self.begun and self.in_flight == 0

"""Whether new requests are taken, and how many are being answered."""

from __future__ import annotations


class Drain:
    """Once begun, it never ends: the server is on its way out.

    Attributes:
        leaving: routers are told to go elsewhere, and connections end with the next answer; requests are still taken.
        begun: new requests are refused.
        in_flight: requests that are being answered.
    """

    def __init__(self) -> None:
        self.leaving = False
        self.begun = False
        self.in_flight = 0

    def leave(self) -> None:
        """Be ready for nobody new, but serve whoever has not heard of it."""
        self.leaving = True

    def begin(self) -> None:
        """Take no new requests."""
        self.leaving = self.begun = True

    @property
    def done(self) -> bool:
        """Whether nothing is left to wait for."""
        return self.begun and self.in_flight == 0

"""Limits of keys, kept by one server process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from loraplex_server.tenants.bucket import Bucket
from loraplex_server.tenants.limits import Limits

Kind = Literal["requests", "tokens", "concurrency"]
# Of a key's tokens a minute: set aside for an answer that may fill the context. More would let such requests in one by
# one, though most answers are short.
OPEN_SHARE = 8


class LimitReachedError(Exception):
    """Too much at this moment. Args: kind: the limit. retry_after: seconds until there may be room."""

    def __init__(self, message: str, kind: Kind, retry_after: float) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after


class NeverFitsError(Exception):
    """One request wants more tokens than its key ever has at once."""


class Account:
    """What one key uses: its requests in flight and what is left of its minutes."""

    def __init__(self) -> None:
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.running = 0

    def follow(self, limits: Limits, now: float) -> None:
        """Take over limits, which may have changed since."""
        self.requests = _resized(self.requests, limits.requests, now)
        self.tokens = _resized(self.tokens, limits.tokens, now)


class Ticket:
    """One request on its way. Whoever has it closes it once.

    Args:
        account: of its key, or None where nothing is limited. clock: of the buckets.
    """

    def __init__(self, account: Account | None, clock: Callable[[], float]) -> None:
        self.account = account
        self._clock = clock
        self._bucket: Bucket | None = None
        self._reserved = 0

    def reserve(self, tokens: int, open_answers: int = 0, largest: int = 0) -> None:
        """Set tokens aside before any is computed.

        Args:
            tokens: of the prompts, and of the answers whose length the request limits.
            open_answers: how many may fill the context instead.
            largest: what such an answer can have at most.

        Raises:
            NeverFitsError: all its tokens together are more than a minute brings.
            LimitReachedError: others of the key use too much at this moment.
        """
        bucket = self.account.tokens if self.account is not None else None
        if bucket is None:
            return
        if tokens > bucket.capacity:
            raise NeverFitsError(
                f"The request may use {tokens} tokens, its prompt and the longest answer that it allows; this key has "
                f"{bucket.capacity} a minute: shorten the prompt, or ask for less by max_tokens"
            )
        amount = min(tokens + open_answers * min(largest, bucket.capacity // OPEN_SHARE), bucket.capacity)
        wait = bucket.take(amount, self._clock())
        if wait:
            message = f"This key's {bucket.capacity} tokens a minute are used up; the request needs {amount}"
            raise LimitReachedError(message, "tokens", wait)
        self._bucket, self._reserved = bucket, self._reserved + amount

    def close(self, used: int) -> None:
        """The request has ended, and used so many tokens: the rest goes back, and what was beyond is owed."""
        if self.account is not None:
            self.account.running -= 1
        if self._bucket is not None:
            self._bucket.give(self._reserved - used, self._clock())


class Limiter:
    """Args: clock: in seconds, never going back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._accounts: dict[str, Account] = {}

    def account_of(self, key_id: str) -> Account | None:
        """Of a key; None where nothing of it is limited."""
        return self._accounts.get(key_id)

    def admit(self, key_id: str, limits: Limits) -> Ticket:
        """Let a request in.

        Raises:
            LimitReachedError: its key has too many at once, or had too many lately. Then it counts for nothing.
        """
        if limits == Limits():
            self._accounts.pop(key_id, None)
            return Ticket(None, self.clock)
        now = self.clock()
        account = self._accounts.setdefault(key_id, Account())
        account.follow(limits, now)
        if limits.concurrency is not None and account.running >= limits.concurrency:
            message = f"This key may have {limits.concurrency} requests at once, and has them; wait for one to end"
            raise LimitReachedError(message, "concurrency", 1.0)
        if account.requests is not None:
            wait = account.requests.take(1, now)
            if wait:
                message = f"This key's {account.requests.capacity} requests a minute are used up"
                raise LimitReachedError(message, "requests", wait)
        account.running += 1
        return Ticket(account, self.clock)


def _resized(bucket: Bucket | None, per_minute: int | None, now: float) -> Bucket | None:
    if per_minute is None:
        return None
    if bucket is None:
        return Bucket(per_minute, now)
    bucket.resize(per_minute, now)
    return bucket

"""A key as it is kept: what it gives, and whether it still does."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from loraplex_server.tenants.grant import Grant
from loraplex_server.tenants.secret import digest_of, new_secret

State = Literal["active", "expired", "revoked"]

ID_PREFIX = "key_"


@dataclass(frozen=True)
class Key:
    """The secret itself is known to nobody but its owner.

    Args:
        id: to speak of it.
        digest: SHA-256 of the secret.
        grant: what it gives.
        created: Unix time; 0 where nobody remembers.
        revoked: Unix time at which it was taken back, if it was.
    """

    id: str
    digest: bytes = field(repr=False)
    grant: Grant
    created: int = 0
    revoked: int | None = None

    def state(self, now: float) -> State:
        """What has become of it at a moment, in Unix time."""
        if self.revoked is not None:
            return "revoked"
        expires = self.grant.expires
        return "expired" if expires is not None and now >= expires else "active"

    def fields(self) -> dict[str, Any]:
        """All that is told of it; nothing that opens."""
        return {
            "id": self.id,
            "object": "key",
            "state": self.state(time.time()),
            **self.grant.model_dump(),
            "created": self.created or None,
            "revoked": self.revoked,
        }


def new_key(grant: Grant) -> tuple[Key, str]:
    """A key for a grant, and its secret, which is shown once and never again."""
    secret = new_secret()
    return Key(f"{ID_PREFIX}{secrets.token_hex(8)}", digest_of(secret), grant, int(time.time())), secret

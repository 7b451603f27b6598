"""Who changed what: a deed that only admins may do, and the line that it leaves, done or not, whatever the level is."""

from __future__ import annotations

import logging
from typing import Literal

NAME = "loraplex_server.audit"
logger = logging.getLogger(NAME)

Action = Literal["adapter.add", "adapter.change", "adapter.remove", "key.create", "key.revoke"]
Outcome = Literal["done", "denied", "failed"]


class Deed:
    """What is known of one before it is done."""

    def __init__(self, action: Action) -> None:
        self.fields: dict[str, object] = {"action": action}

    def about(self, target: str, **facts: object) -> None:
        """Args: target: name or id of what changes. facts: of it; none is a secret, and None is left out."""
        self.fields |= {"target": target, **{name: fact for name, fact in facts.items() if fact is not None}}

    def log(
        self, outcome: Outcome, reason: str | None, *, by: str, tenant: str | None = None, client: str = ""
    ) -> None:
        """Leave its line.

        Args:
            outcome: what became of it.
            reason: why not.
            by: who did it.
            tenant: whose key that was.
            client: address that it came from.
        """
        who = {"by": by, "tenant": tenant, "client": client, "outcome": outcome, "reason": reason}
        logger.info("audit", extra={"fields": self.fields | {name: value for name, value in who.items() if value}})

"""Bodies of /v1/keys."""

from __future__ import annotations

from pydantic import ConfigDict

from loraplex_server.api.schemas.sampling import Schema
from loraplex_server.tenants.grant import Grant


class CreateKey(Schema, Grant):
    """POST /v1/keys. Only the tenant must be named; a limit that is not is none."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"tenant": "acme", "adapters": ["acme-*"], "requests_per_minute": 60, "tokens_per_minute": 100_000},
                {"tenant": "ops", "admin": True, "expires": "2027-01-31"},
            ]
        }
    )

    @property
    def grant(self) -> Grant:
        """What is to be kept."""
        return Grant(**{name: getattr(self, name) for name in Grant.model_fields})

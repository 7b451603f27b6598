"""What a key gives to whoever has it."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from loraplex_server.tenants.limits import Limits
from loraplex_server.tenants.moment import moment
from loraplex_server.tenants.patterns import ANY, Patterns

# A metric's label and a line of the log have it as it is.
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# What those are counted as who have no tenant, and those for whom no label is left.
DEFAULT, OTHER = "default", "other"
MOST = 2**53  # JSON's readers count so far

Count = Annotated[int, Field(ge=1, le=MOST)]
Pattern = Annotated[str, Field(min_length=1, max_length=255)]
Moment = Annotated[int, BeforeValidator(moment, json_schema_input_type=int | str)]


class Grant(BaseModel):
    """Tenant, adapters and limits; a limit that is not named is none. All but the tenant has a default."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=())

    tenant: str = Field(
        description="Who it is given to: what several keys of one tenant do counts together.",
        json_schema_extra={"pattern": f"^{_TENANT.pattern}$"},
    )
    name: str = Field(default="", max_length=200, description="To tell a tenant's keys apart.")
    adapters: list[Pattern] = Field(
        default=[ANY],
        min_length=1,
        max_length=1000,
        description="Names of adapters that it sees and may use; `*` stands for any characters, `base` for the base "
        "model. An alias is allowed where the adapter is that it stands for.",
    )
    requests_per_minute: Count | None = Field(default=None, description="Requests that ask for work.")
    tokens_per_minute: Count | None = Field(default=None, description="Tokens of prompts and answers together.")
    concurrency: Count | None = Field(default=None, description="Requests at once.")
    weight: float = Field(
        default=1.0, ge=0.01, le=1000, allow_inf_nan=False, description="Of the tenant's share where not all fits."
    )
    priority: int = Field(default=0, ge=-1000, le=1000, description="Lower is earlier.")
    admin: bool = Field(default=False, description="Whether it administers adapters and keys, and uses all of them.")
    expires: Moment | None = Field(default=None, description="The moment from which it opens nothing.")

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, fields: Any) -> Any:
        """Null means the default."""
        if isinstance(fields, dict):
            return {name: value for name, value in fields.items() if value is not None}
        return fields

    @field_validator("tenant")
    @classmethod
    def _check_tenant(cls, tenant: str) -> str:
        if not _TENANT.fullmatch(tenant):
            raise ValueError(
                "must be at most 64 letters, digits, dots, dashes and underscores, a letter or digit first"
            )
        if tenant in (DEFAULT, OTHER):
            raise ValueError("is a word for those who are no tenant: choose another")
        return tenant

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not name.isprintable():
            raise ValueError("must be printable")
        return name

    @model_validator(mode="after")
    def _check_admin(self) -> Grant:
        if self.admin and self.adapters != [ANY]:
            raise ValueError("admin: such a key may use all adapters, so its patterns would mean nothing")
        return self

    @property
    def patterns(self) -> Patterns:
        """Of what it may use."""
        return Patterns(self.adapters)

    @property
    def limits(self) -> Limits:
        """How much it may ask for."""
        return Limits(self.requests_per_minute, self.tokens_per_minute, self.concurrency)

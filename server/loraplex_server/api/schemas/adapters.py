"""Bodies of /v1/adapters, and of vLLM's routes for the same."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from loraplex_server.api.schemas.sampling import Schema

MAX_ALIASES = 64

Name = Annotated[str, Field(min_length=1, max_length=255)]
State = Literal["registered", "on_disk", "loading", "host", "device", "error"]


class AddAdapter(Schema):
    """POST /v1/adapters. The same name with the same source again is no error."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "sql", "source": "org/llama-sql@v2", "aliases": ["sql-latest"], "pinned": True},
                {"name": "sql", "source": "s3://models/sql-3/", "replace": True},
            ]
        }
    )

    name: Name = Field(description="What requests call it in `model`.")
    source: str = Field(
        min_length=1,
        max_length=4096,
        description="A folder of the server, `org/name[@revision]` on the hub, or an s3://, gs:// or https:// URL; "
        "allowed by the server's --allow-adapter-source.",
    )
    pinned: bool = Field(default=False, description="Load it now and keep it in memory, after restarts too.")
    aliases: list[Name] = Field(default=[], max_length=MAX_ALIASES, description="More names for it.")
    preload: bool = Field(default=True, description="Load it before the answer, to refuse what cannot be served.")
    replace: bool = Field(default=False, description="Take the place of another source under this name.")

    @model_validator(mode="after")
    def _check_pin(self) -> AddAdapter:
        if self.pinned and not self.preload:
            raise ValueError("preload: a pinned adapter is loaded at once, so this cannot be false")
        return self


class ChangeAdapter(Schema):
    """PATCH /v1/adapters/{name}. What is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"pinned": True}, {"aliases": ["sql", "sql-v3"]}]})

    pinned: bool | None = Field(default=None, description="Keep it in memory, or let it leave.")
    aliases: list[Name] | None = Field(
        default=None, max_length=MAX_ALIASES, description="All its other names from now on."
    )


class LoadLoraAdapter(Schema):
    """POST /v1/load_lora_adapter, as vLLM has it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lora_name": "sql", "lora_path": "org/llama-sql"}]})

    lora_name: str = Field(default="", max_length=255)
    lora_path: str = Field(default="", max_length=4096)
    load_inplace: bool = Field(default=False, description="Take the place of another source under this name.")
    base_model_name: str | None = Field(
        default=None, max_length=4096, description="As the LoRA syncer sends it; another base's adapter is refused."
    )
    is_3d_lora_weight: Literal[False] = Field(default=False, description="Experts are not served.")


class UnloadLoraAdapter(Schema):
    """POST /v1/unload_lora_adapter, as vLLM has it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lora_name": "sql"}]})

    lora_name: str = Field(default="", max_length=255)
    lora_int_id: int | None = Field(default=None, description="vLLM's number of the adapter; the name is what counts.")

"""Bodies of /v1/batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from loraplex_server.api.schemas.sampling import Schema

SHORTEST_LIFE_S, LONGEST_LIFE_S = 3600, 30 * 24 * 3600

Key = Annotated[str, Field(max_length=64)]
Value = Annotated[str, Field(max_length=512)]
Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]


class ExpiresAfter(Schema):
    """How long a file is kept."""

    anchor: Literal["created_at"] = Field(description="From when it counts.")
    seconds: int = Field(ge=SHORTEST_LIFE_S, le=LONGEST_LIFE_S)


class CreateBatch(Schema):
    """POST /v1/batches."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "input_file_id": "file-abc123",
                    "endpoint": "/v1/chat/completions",
                    "completion_window": "24h",
                    "metadata": {"description": "nightly"},
                }
            ]
        }
    )

    input_file_id: str = Field(max_length=255, description="Of a file that was uploaded with the purpose `batch`.")
    endpoint: Endpoint = Field(description="That all its requests are for.")
    completion_window: Literal["24h"] = Field(description="What is not answered by then is not answered.")
    metadata: dict[Key, Value] | None = Field(default=None, max_length=16, description="Kept with the batch.")
    output_expires_after: ExpiresAfter | None = Field(
        default=None, description="Of the files with its answers; 30 days unless given."
    )

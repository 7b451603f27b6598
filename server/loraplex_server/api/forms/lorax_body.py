"""Bodies of LoRAX's as ours."""

from __future__ import annotations

from typing import Any

from loraplex_server.api.errors import ApiError
from loraplex_server.api.schemas.completion import CompletionRequest
from loraplex_server.api.schemas.embedding import EmbeddingRequest
from loraplex_server.api.schemas.lorax import LoraxAdapters, LoraxEmbedRequest, LoraxParameters, LoraxRequest


def completion_of(body: LoraxRequest, stream: bool) -> CompletionRequest:
    """What the body asks for in our words.

    Raises:
        ApiError: a stream is asked for what is only known at its end.
    """
    asked = body.parameters
    if stream and asked.best_of > 1:
        raise _not_streamed("best_of")
    if stream and asked.decoder_input_details:
        raise _not_streamed("decoder_input_details")
    shown = asked.details or asked.decoder_input_details or stream
    fields: dict[str, Any] = {
        "prompt": body.inputs,
        "max_tokens": asked.max_new_tokens,
        "best_of": asked.best_of,
        "logprobs": (asked.return_k_alternatives or 0) if shown else None,
        "prompt_logprobs": 0 if asked.decoder_input_details else None,
        "truncate_prompt_tokens": asked.truncate,
        "repetition_penalty": asked.repetition_penalty,
        "frequency_penalty": asked.frequency_penalty,
        "presence_penalty": asked.presence_penalty,
        "ignore_eos": asked.ignore_eos_token,
        "stop": asked.stop,
        "include_stop_str_in_output": True,
        "seed": asked.seed,
        "stream": stream,
        "response_format": None if asked.response_format is None else asked.response_format.as_completion(),
    }
    return CompletionRequest.model_validate(fields | _adapters(asked) | _sampling(asked))


def embedded(body: LoraxEmbedRequest) -> EmbeddingRequest:
    """What the body asks for in our words: LoRAX normalizes nothing."""
    return EmbeddingRequest.model_validate({"input": body.inputs, "normalize": False} | _adapters(body.parameters))


def _adapters(asked: LoraxAdapters) -> dict[str, Any]:
    if asked.merged_adapters is None:
        return {"model": asked.adapter_id}
    pairs = zip(asked.merged_adapters.ids, asked.merged_adapters.weights, strict=True)
    return {"adapters": [{"name": name, "weight": weight} for name, weight in pairs]}


def _sampling(asked: LoraxParameters) -> dict[str, Any]:
    if not asked.samples:
        return {"temperature": 0.0}
    return {"temperature": asked.temperature, "top_k": asked.top_k, "top_p": asked.top_p}


def _not_streamed(name: str) -> ApiError:
    return ApiError(422, f"'parameters.{name}' is not supported in a stream", param=name)

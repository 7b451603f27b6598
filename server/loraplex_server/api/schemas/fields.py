"""Fields of other servers' requests: which values change nothing, and what is said of the others.

Nothing is ignored in silence: a field is served, or its value asks for what is done anyway, or it is refused by name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from loraplex_server.api.errors import bad_request

Harmless = Callable[[Any, Mapping[str, Any]], bool]


def _is(*values: object) -> Harmless:
    # The type counts too: in Python 0 == False, in JSON it is another value.
    return lambda value, _: any(type(value) is type(other) and value == other for other in values)


def _anything(value: Any, body: Mapping[str, Any]) -> bool:
    return True


def _text(value: Any, body: Mapping[str, Any]) -> bool:
    return isinstance(value, str)


def _empty(value: Any, body: Mapping[str, Any]) -> bool:
    return value in ([], {}) and not isinstance(value, bool)


def _same_as_n(value: Any, body: Mapping[str, Any]) -> bool:
    return type(value) is int and value == (body.get("n") or 1)


def _number(value: Any, body: Mapping[str, Any]) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _flag(value: Any, body: Mapping[str, Any]) -> bool:
    return isinstance(value, bool)


# Null changes nothing anywhere, and needs no entry.
NO_OPS: dict[str, Harmless] = {
    # OpenAI's
    "user": _text,
    "embed_dtype": _is("float32"),
    "endianness": _is("native", "little"),
    "metadata": _anything,
    "safety_identifier": _text,
    "prompt_cache_key": _text,
    "prompt_cache_retention": _text,
    "prompt_cache_options": _empty,
    "store": _is(False),
    "service_tier": _is("auto", "default"),
    "modalities": _is(["text"]),
    "tools": _empty,
    "tool_choice": _is("none", "auto"),
    "parallel_tool_calls": _flag,  # no tools, no calls
    "functions": _empty,
    "function_call": _is("none", "auto"),
    "verbosity": _is("medium"),
    "suffix": _is(""),
    "best_of": _same_as_n,
    # Anthropic's
    "cache_control": _anything,  # the prefix cache is automatic
    "speed": _is("standard"),
    # llama.cpp's
    "cache_prompt": _is(True),
    "id_slot": _number,
    "n_keep": _number,  # a context is never shifted
    "n_discard": _number,
    "n_indent": _is(0),
    "n_cache_reuse": _is(0),
    "min_keep": _is(0),
    "t_max_predict_ms": _is(0, -1),
    "typical_p": _is(1, 1.0),
    "top_n_sigma": _is(-1, -1.0),
    "dynatemp_range": _is(0, 0.0),
    "dynatemp_exponent": _number,
    "mirostat": _is(0),
    "mirostat_tau": _number,
    "mirostat_eta": _number,
    "xtc_probability": _is(0, 0.0),
    "xtc_threshold": _number,
    "dry_multiplier": _is(0, 0.0),
    "dry_base": _number,
    "dry_allowed_length": _number,
    "dry_penalty_last_n": _number,
    "dry_sequence_breakers": _anything,
    "post_sampling_probs": _is(False),
    "timings_per_token": _is(False),
    "return_progress": _is(False),
    "response_fields": _empty,
    "sse_ping_interval": _is(-1),
    "penalize_nl": _is(False),
    # vLLM's
    "use_beam_search": _is(False),
    "length_penalty": _is(1, 1.0),
    "spaces_between_special_tokens": _is(True),
    "documents": _empty,
    "chat_template_kwargs": _empty,
    "mm_processor_kwargs": _empty,
    "media_io_kwargs": _empty,
    "vllm_xargs": _empty,
    "session_id": _text,
    "return_tokens_as_token_ids": _is(False),
    "return_token_offsets": _is(False),
    "return_prompt_text": _is(False),
    "include_reasoning": _flag,  # no reasoning, nothing to include
    "stream_interval": _is(1),
    "watermarking": _is(False),
    "echo": _is(False),
    "logprobs": _is(False),
    "add_special_tokens": _is(False),  # of chats: the template writes them
    # SGLang's: vllm-router and sglang-router write them into whatever they pass on.
    "no_stop_trim": _is(False),
    "return_hidden_states": _is(False),
    "separate_reasoning": _flag,
    "stream_reasoning": _flag,
}

# fmt: off
_KNOWN = (
    "adapter_id", "adapter_source", "allowed_token_ids", "audio", "cache_salt", "chat_template", "ec_transfer_params",
    "guided_choice", "guided_decoding_backend", "guided_grammar", "guided_json", "guided_regex",
    "guided_whitespace_pattern", "kv_transfer_params", "logprob_token_ids", "lora_name", "lora_path", "lora_request",
    "max_completion_tokens", "messages", "mm_payload", "moderation", "prediction", "prompt", "prompt_embeds",
    "prompt_logprobs", "reasoning_effort", "repetition_detection", "request_id", "return_mm_kwargs",
    "return_weight_versions", "routed_experts_prompt_start", "thinking_token_budget", "top_logprobs",
    "truncate_prompt_tokens", "web_search_options", "samplers", "grammar", "json_schema", "repeat_penalty",
    "repeat_last_n", "n_predict", "n_probs", "n_cmpl", "multimodal_data",
)
_KNOWN_BESIDE_CHATS = (  # of /v1/responses and /v1/messages
    "access_programs", "container", "context_management", "conversation", "diagnostics", "image", "inference_geo",
    "mcp_servers", "user_profile_id", "workspace_id",
)
# fmt: on
_REASONS = {
    "suffix": "the models were not made to fill in the middle",
    "logprob_token_ids": "ask for 'logprobs', which gives the likeliest tokens",
    "best_of": "only /v1/completions has it; ask for 'n' answers and choose",
    "use_beam_search": "tokens are sampled or the likeliest",
    "length_penalty": "it is of beam search, which is not served",
    "stream_interval": "every token is streamed",
    "truncation_side": "nothing is cut off here",
    "chat_template": "templates come with the model, an adapter, or --chat-template",
    "reasoning_effort": "say it in 'chat_template_kwargs', in the words of the model's template",
    "thinking_token_budget": "reasoning is not parted from the answer; limit both by 'max_tokens'",
    "prompt_embeds": "prompts are text or token ids",
    "samplers": "their order is fixed",
    "grammar": "it is of /completion; here 'structured_outputs' has it",
    "json_schema": "it is of /completion; here 'response_format' has it",
    "n_predict": "it is of /completion; here 'max_tokens' says it",
    "n_cmpl": "it is of /completion; here 'n' says it",
    "n_probs": "it is of /completion; here 'logprobs' says it",
    "repeat_penalty": "it is of /completion; here 'repetition_penalty' says it",
    "repeat_last_n": "it is of /completion; here penalties look at all tokens",
}
_NAMES_ADAPTER = frozenset({"adapter_id", "adapter_source", "lora_name", "lora_path", "lora_request"})
KNOWN = frozenset(_KNOWN) | frozenset(_KNOWN_BESIDE_CHATS) | NO_OPS.keys()


def served_fields(body: Mapping[str, Any], served: Collection[str]) -> dict[str, Any]:
    """The part of a request that a schema has to look at.

    Raises:
        ApiError: a field is unknown, or known but not served with this value.
    """
    kept = {}
    for name, value in body.items():
        if name in served:
            kept[name] = value
            continue
        if name not in KNOWN:
            raise bad_request(_unknown(name, served), param=name[:200], code="unknown_parameter")
        harmless = NO_OPS.get(name)
        if value is not None and (harmless is None or not harmless(value, body)):
            raise bad_request(_refusal(name), param=name, code="unsupported_parameter")
    return kept


def _unknown(name: str, served: Collection[str]) -> str:
    near = difflib.get_close_matches(name[:100], sorted(served), n=1, cutoff=0.75)
    return f"Unknown field '{name[:200]}'" + (f"; did you mean '{near[0]}'?" if near else "")


def _refusal(name: str) -> str:
    if name.startswith("guided_"):
        return f"'{name}' is not supported any more, as in vLLM: use 'structured_outputs'"
    if name in _NAMES_ADAPTER:
        return f"'{name}' is not supported here: name the adapter in 'model' or 'adapters'"
    if name in _REASONS:
        return f"'{name}' is not supported here: {_REASONS[name]}"
    detail = "with this value " if name in NO_OPS else ""
    return f"'{name}' is not supported {detail}here: leave it out"

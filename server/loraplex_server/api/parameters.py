"""A request's fields as the engine's parameters, checked against the model's limits."""

from __future__ import annotations

from loraplex_server.api.errors import ApiError, bad_request
from loraplex_server.api.schemas.chat import ChatRequest
from loraplex_server.api.schemas.completion import CompletionRequest
from loraplex_server.api.schemas.sampling import SamplingFields
from loraplex_server.engine.messages import EngineInfo, SamplingParams

DEFAULT_COMPLETION_TOKENS = 16
# Logits divided by less overflow float32; the likeliest token is certain long before.
GREEDY_BELOW = 1e-5


class ModelLimits:
    """Args: info: of the engine. end_tokens: ids that end an answer unless the request ignores them."""

    def __init__(self, info: EngineInfo, end_tokens: tuple[int, ...]) -> None:
        self._context = info.max_model_len
        self._vocabulary = info.vocab_size
        # Some checkpoints name an end token beyond their vocabulary, which no answer can hold.
        self._end_tokens = tuple(id for id in end_tokens if 0 <= id < info.vocab_size)

    def completion(self, body: CompletionRequest, prompt_tokens: int) -> SamplingParams:
        """Parameters for one prompt of a completions request.

        Raises:
            ApiError: the prompt or the answer does not fit, or a token id is out of range.
        """
        default = min(DEFAULT_COMPLETION_TOKENS, self._context - prompt_tokens)
        limit = self._answer_tokens(body.max_tokens, default, prompt_tokens)
        prompt_logprobs = body.logprobs if body.echo else None
        return self._parameters(body, limit, body.logprobs, prompt_logprobs)

    def chat(self, body: ChatRequest, prompt_tokens: int) -> SamplingParams:
        """Parameters of a chat. Raises as completion does."""
        limit = self._answer_tokens(body.token_limit, self._context - prompt_tokens, prompt_tokens)
        return self._parameters(body, limit, (body.top_logprobs or 0) if body.logprobs else None, None)

    def check_ids(self, ids: list[int], param: str) -> None:
        """Raise a 400 unless all ids are tokens of the model."""
        for id in ids:
            if not 0 <= id < self._vocabulary:
                raise bad_request(f"'{param}': {id} is no token: ids go from 0 to {self._vocabulary - 1}", param=param)

    def _answer_tokens(self, asked: int | None, default: int, prompt_tokens: int) -> int:
        if not prompt_tokens:
            raise bad_request("The prompt is empty", param="prompt")
        room = self._context - prompt_tokens
        if room < (0 if asked == 0 else 1):
            raise self._too_long(f"the prompt has {prompt_tokens}")
        if asked is not None and asked > room:
            raise self._too_long(f"the prompt has {prompt_tokens} and max_tokens asks for {asked}")
        return default if asked is None else asked

    def _too_long(self, found: str) -> ApiError:
        message = f"This model's context holds {self._context} tokens, but {found}"
        return bad_request(message, param="prompt", code="context_length_exceeded")

    def _parameters(
        self, body: SamplingFields, limit: int, logprobs: int | None, prompt_logprobs: int | None
    ) -> SamplingParams:
        if body.min_tokens > limit:
            raise bad_request(f"'min_tokens': is more than the {limit} tokens of the answer", param="min_tokens")
        self.check_ids(body.stop_token_ids, "stop_token_ids")
        self.check_ids(list(body.logit_bias), "logit_bias")
        ends = () if body.ignore_eos else self._end_tokens
        return SamplingParams(
            max_tokens=limit,
            min_tokens=body.min_tokens,
            temperature=body.temperature if body.temperature >= GREEDY_BELOW else 0.0,
            top_p=body.top_p,
            top_k=body.top_k if 0 < body.top_k < self._vocabulary else 0,
            min_p=body.min_p,
            seed=body.seed,
            presence_penalty=body.presence_penalty,
            frequency_penalty=body.frequency_penalty,
            repetition_penalty=body.repetition_penalty,
            logit_bias=body.logit_bias,
            stop_token_ids=tuple(dict.fromkeys((*ends, *body.stop_token_ids))),
            logprobs=logprobs,
            prompt_logprobs=prompt_logprobs,
        )

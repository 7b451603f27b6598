"""A request's fields as the engine's parameters, checked against the model's limits."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from loraplex_server.api.errors import ApiError, bad_request
from loraplex_server.api.schemas.chat import ChatRequest
from loraplex_server.api.schemas.completion import CompletionRequest
from loraplex_server.api.schemas.sampling import SamplingFields
from loraplex_server.api.structure.constraints import UNCONSTRAINED, Constraints
from loraplex_server.engine.messages import EngineInfo, SamplingParams

DEFAULT_COMPLETION_TOKENS = 16
# Logits divided by less overflow float32; the likeliest token is certain long before.
GREEDY_BELOW = 1e-5
# Of an adapter: ids are 32 bits wide on the way to the model.
LARGEST_VOCABULARY = 2**31
# In one response, each some 20 bytes of JSON: a prompt of 128k tokens with 20 alternatives for each.
MAX_PROMPT_LOGPROBS = 3_000_000


class ModelLimits:
    """What the model and the server can take.

    Args:
        info: of the engine.
        end_tokens: ids that end an answer unless the request ignores them.
        queue: answers that may wait.
        own_vocabulary: an adapter may have more tokens than the base; how many, the engine knows once it has read it.
    """

    def __init__(
        self, info: EngineInfo, end_tokens: tuple[int, ...], queue: int, *, own_vocabulary: bool = False
    ) -> None:
        self._seats, self._queue = info.max_num_seqs, queue
        self._context = info.max_model_len
        self._vocabulary = LARGEST_VOCABULARY if own_vocabulary else info.vocab_size
        # Some checkpoints name an end token beyond their vocabulary, which no answer can hold.
        self._end_tokens = tuple(id for id in end_tokens if 0 <= id < self._vocabulary)

    def completions(
        self,
        body: CompletionRequest,
        prompts: Sequence[int],
        constraints: Constraints = UNCONSTRAINED,
        *,
        fill: bool = False,
    ) -> list[SamplingParams]:
        """Parameters for each prompt of a completions request.

        Args:
            prompts: their lengths, in tokens.
            constraints: of all the answers.
            fill: an answer without a limit may fill what is left of the context.

        Raises:
            ApiError: a prompt or its answer does not fit, a token id is out of range, or the prompts' log
                probabilities would make too large a response.
        """
        self._check_tokens(body, constraints)
        wanted = [count for count in (body.logprobs if body.echo else None, body.prompt_logprobs) if count is not None]
        prompt_logprobs = max(wanted, default=None)
        if prompt_logprobs is not None:
            self._check_prompt_logprobs(sum(prompts) * body.n, prompt_logprobs + 1)
        # The best answers are those whose tokens are likeliest.
        logprobs = 0 if body.logprobs is None and body.answers > body.n else body.logprobs
        parameters = []
        for prompt_tokens in prompts:
            room = self._context - prompt_tokens
            default = room if fill else min(DEFAULT_COMPLETION_TOKENS, room)
            limit = self._answer_tokens(body.max_tokens, default, prompt_tokens)
            parameters.append(self._parameters(body, constraints, limit, logprobs, prompt_logprobs))
        return parameters

    def chat(self, body: ChatRequest, prompt_tokens: int, constraints: Constraints = UNCONSTRAINED) -> SamplingParams:
        """Parameters of a chat. Raises as completions does."""
        self._check_tokens(body, constraints)
        limit = self._answer_tokens(body.token_limit, self._context - prompt_tokens, prompt_tokens)
        if body.prompt_logprobs is not None:
            self._check_prompt_logprobs(prompt_tokens, body.prompt_logprobs + 1)
        logprobs = (body.top_logprobs or 0) if body.logprobs else None
        return self._parameters(body, constraints, limit, logprobs, body.prompt_logprobs)

    def cut(self, prompt: list[int], body: SamplingFields, answer_tokens: int | None) -> list[int]:
        """As much of a prompt as its request wants to be read."""
        keep = body.truncate_prompt_tokens
        if keep is None:
            return prompt
        if keep == -1:
            keep = max(self._context - (1 if answer_tokens is None else answer_tokens), 1)
        return prompt[:keep] if body.truncation_side == "right" else prompt[-keep:]

    def check_ids(self, ids: Collection[int], param: str) -> None:
        """Raise a 400 unless all ids are tokens of the model."""
        if not ids:
            return
        for id in (min(ids), max(ids)):
            if not 0 <= id < self._vocabulary:
                shown = str(id)[:40]
                raise bad_request(f"'{param}': {shown} is no token: ids go from 0 to {self._vocabulary - 1}", param)

    def check_answers(self, count: int) -> None:
        """Raise a 400 where a request asks for more answers than fit in even while nothing else is there."""
        if count > self._seats + self._queue:
            raise bad_request(
                f"'n': the request asks for {count} answers, of all prompts; this server computes {self._seats} at "
                f"once and lets {self._queue} wait",
                param="n",
            )

    def check_fits(self, prompt_tokens: int, answer_tokens: int | None) -> None:
        """Raise a 400 unless the context holds a prompt and as many tokens as are asked for: None is at least one."""
        if not prompt_tokens:
            raise bad_request("The prompt is empty", param="prompt")
        room = self._context - prompt_tokens
        if room < (0 if answer_tokens == 0 else 1):
            raise self._too_long(f"the prompt has {prompt_tokens}")
        if answer_tokens is not None and answer_tokens > room:
            raise self._too_long(f"the prompt has {prompt_tokens} and max_tokens asks for {str(answer_tokens)[:40]}")

    def _answer_tokens(self, asked: int | None, default: int, prompt_tokens: int) -> int:
        self.check_fits(prompt_tokens, asked)
        return default if asked is None else asked

    def _check_tokens(self, body: SamplingFields, constraints: Constraints) -> None:
        self.check_ids(body.stop_token_ids, "stop_token_ids")
        self.check_ids(body.logit_bias, "logit_bias")
        self.check_ids(constraints.allowed_token_ids or (), "allowed_token_ids")
        for word in constraints.bad_words:
            self.check_ids(word, "bad_words")

    def _check_prompt_logprobs(self, tokens: int, each: int) -> None:
        if tokens * each > MAX_PROMPT_LOGPROBS:
            raise bad_request(
                f"'logprobs': with 'echo', the prompts' {tokens} tokens (n times each) with {each} log probabilities "
                f"each are more than {MAX_PROMPT_LOGPROBS}: ask for fewer, or send the prompts one by one",
                param="logprobs",
            )

    def _too_long(self, found: str) -> ApiError:
        message = f"This model's context holds {self._context} tokens, but {found}"
        return bad_request(message, param="prompt", code="context_length_exceeded")

    def _parameters(
        self,
        body: SamplingFields,
        constraints: Constraints,
        limit: int,
        logprobs: int | None,
        prompt_logprobs: int | None,
    ) -> SamplingParams:
        if body.min_tokens > limit:
            raise bad_request(f"'min_tokens': is more than the {limit} tokens of the answer", param="min_tokens")
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
            allowed_token_ids=constraints.allowed_token_ids,
            bad_words=constraints.bad_words,
            grammar=constraints.grammar,
        )

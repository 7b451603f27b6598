"""What a request may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from loraplex_server.engine.messages import GenerateRequest


class InvalidRequestError(Exception):
    """The request cannot be served as it is; the message is for the one who sent it."""


@dataclass(frozen=True)
class Limits:
    """Of one engine.

    Args:
        max_model_len: positions of one sequence: virtual tokens, prompt and answer together.
        vocab: tokens of the base model; an adapter may have another vocabulary.
    """

    max_model_len: int
    vocab: int

    def check(self, message: GenerateRequest) -> None:
        """What can be told before the adapters are known.

        Raises:
            InvalidRequestError: it cannot be served, whatever they are.
        """
        if not message.prompt_token_ids:
            raise InvalidRequestError("the prompt is empty")
        if message.pooling is not None and (message.n != 1 or message.sampling.max_tokens != 0):
            raise InvalidRequestError("a request for an embedding has one answer, of no tokens")
        self.check_length(message, 0)
        if not message.adapters:
            self.check_tokens(message, self.vocab, self.vocab)

    def check_length(self, message: GenerateRequest, virtual: int) -> None:
        """The prompt must leave room for an answer.

        Raises:
            InvalidRequestError: it does not.
        """
        length = len(message.prompt_token_ids)
        if virtual + length + min(message.sampling.max_tokens, 1) > self.max_model_len:
            before = f", and its adapter puts {virtual} virtual tokens before it" if virtual else ""
            raise InvalidRequestError(
                f"the prompt has {length} tokens{before}; the longest sequence this server allows has "
                f"{self.max_model_len}"
            )

    def check_tokens(self, message: GenerateRequest, known: int, chosen: int) -> None:
        """All token ids must be in the vocabulary.

        Args:
            message: the request.
            known: tokens that the embedding has vectors for.
            chosen: tokens that `lm_head` scores.

        Raises:
            InvalidRequestError: one is not.
        """
        prompt, sampling = message.prompt_token_ids, message.sampling
        if not 0 <= min(prompt) <= max(prompt) < known:
            raise InvalidRequestError(f"the prompt has token ids outside of the vocabulary of {known}")
        # The base's own end tokens come with every request; where an adapter cannot choose them, they never come up.
        stops = all(0 <= token < max(chosen, self.vocab) for token in sampling.stop_token_ids)
        named = (sampling.logit_bias, sampling.allowed_token_ids or (), *sampling.bad_words)
        if not (stops and all(0 <= token < chosen for tokens in named for token in tokens)):
            raise InvalidRequestError(
                "stop_token_ids, logit_bias, allowed_token_ids or bad_words have token ids outside of the vocabulary "
                f"of {chosen}"
            )
        if sampling.prompt_logprobs is not None and max(prompt) >= chosen:
            raise InvalidRequestError(
                f"the prompt has token ids that are never chosen, outside of the {chosen} that the output layer "
                "scores: their log probabilities cannot be given"
            )

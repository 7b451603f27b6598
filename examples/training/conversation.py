"""A conversation as the model is trained on it: token ids, and which of them it must learn to say."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from training.task import Example

# What torch's cross-entropy skips.
IGNORED = -100


@dataclass(frozen=True)
class Conversation:
    """Args: ids: the tokens. labels: the same, `IGNORED` where nothing is to be learnt."""

    ids: list[int]
    labels: list[int]


def question(tokenizer: PreTrainedTokenizerFast, prompt: str, system: str | None = None) -> list[int]:
    """The ids up to where the answer begins, as /v1/chat/completions makes them."""
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def conversation(tokenizer: PreTrainedTokenizerFast, example: Example, system: str | None = None) -> Conversation:
    """One question and its answer. Only the answer is learnt: the question is not to be guessed."""
    asked = question(tokenizer, example.prompt, system)
    answer = tokenizer.encode(example.answer + tokenizer.eos_token, add_special_tokens=False)
    return Conversation(asked + answer, [IGNORED] * len(asked) + answer)

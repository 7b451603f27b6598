"""The model's tokenizer and chat template: requests to token ids."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import jinja2
from tokenizers import Tokenizer
from transformers import AutoTokenizer, GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

from loraplex_server.api.answers.transcript import (
    check_nothing_lost,
    check_place_for_tools,
    messages_for,
    size_of,
    tools_for,
    variables_for,
)
from loraplex_server.api.errors import bad_request
from loraplex_server.api.rendering.vocabulary import Vocabulary
from loraplex_server.api.schemas.chat import Conversation
from loraplex_server.api.structure.mask_file import MaskFile

# Characters or tokens of one request; more are worked on by a thread: every stream waits while the event loop does not
# turn.
INLINE_SIZE = 4096

_TAKEN = frozenset(inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters)

# What a template raises that is given what it does not expect.
_OF_TEMPLATES = (jinja2.TemplateError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError)

_T = TypeVar("_T")


class RendererError(Exception):
    """The model's folder has no tokenizer that can be used."""


class Renderer:
    """Tokens of texts and conversations, and back.

    Args:
        tokenizer: transformers' own, backed by the tokenizers library.
        end_tokens: ids that end an answer.
        trusted: its template came with the model. Another's may be slow, so the event loop never runs it.

    Raises:
        RendererError: the tokenizer is not backed by the tokenizers library.
    """

    def __init__(self, tokenizer: Any, end_tokens: Sequence[int], *, trusted: bool = True) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise RendererError("the model has no tokenizer.json, and its tokenizer cannot be turned into one")
        # Used from several threads: nothing of transformers' that changes the backend's state may run beside it.
        backend.no_truncation()
        backend.no_padding()
        self._chat = tokenizer
        self._inline = INLINE_SIZE if trusted else -1
        self.tokenizer = backend
        self.vocabulary = Vocabulary(backend)
        self.mask_file = MaskFile(backend, self.vocabulary)
        self.end_tokens = tuple(sorted(set(end_tokens)))

    @cached_property
    def identity(self) -> str:
        """Equal for renderers that read and write alike."""
        parts = (self.tokenizer.to_str(), self._chat.chat_template, self._chat.special_tokens_map, self.end_tokens)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    @property
    def chat_template(self) -> Any:
        """As transformers has it: a text, or several by name, or None."""
        return self._chat.chat_template

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files, as transformers lays them out."""
        self._chat.save_pretrained(folder)

    async def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text."""
        return (await self.encode_all([text], add_special_tokens))[0]

    async def encode_all(self, texts: Sequence[str], add_special_tokens: bool = True) -> list[list[int]]:
        """Token ids of each text."""

        def encode_batch() -> list[list[int]]:
            # Unlike encode, it gives up the interpreter lock.
            found = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)
            return [list(encoding.ids) for encoding in found]

        if sum(map(len, texts)) > INLINE_SIZE:
            return await asyncio.to_thread(encode_batch)
        # Not the batch's threads: long texts of other requests may hold them all.
        return [list(self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids) for text in texts]

    async def encode_chat(self, conversation: Conversation) -> list[int]:
        """Token ids of a conversation as the model's template writes it.

        Raises:
            ApiError: the model has no template, or its template refuses the conversation.
        """
        text = await off_loop(lambda: self._render(conversation), size_of(conversation), self._inline)
        return await self.encode(text, add_special_tokens=False)

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of token ids."""
        return self.tokenizer.decode(list(token_ids), skip_special_tokens=skip_special_tokens)

    async def decode_all(self, lists: Sequence[list[int]], skip_special_tokens: bool = True) -> list[str]:
        """Text of each list of token ids."""
        if sum(map(len, lists)) > INLINE_SIZE:
            # Unlike decode, it gives up the interpreter lock.
            return await asyncio.to_thread(self.tokenizer.decode_batch, list(lists), skip_special_tokens)
        return [self.decode(ids, skip_special_tokens) for ids in lists]

    async def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """Each token alone, as a string."""
        return await off_loop(lambda: [self.vocabulary.text(id) for id in token_ids], len(token_ids))

    def template_for(self, *, tools: bool) -> str | None:
        """The template that writes a conversation: some models have another one where there are tools."""
        templates = self._chat.chat_template
        if isinstance(templates, dict):
            default = templates.get("default")
            templates = templates.get("tool_use", default) if tools else default
        return None if templates is None else str(templates)

    def _render(self, conversation: Conversation) -> str:
        template = self.template_for(tools=bool(conversation.shown_tools))
        if template is None:
            raise bad_request("This model has no chat template: use /v1/completions", code="no_chat_template")
        if conversation.shown_tools:
            check_place_for_tools(template)
        variables = variables_for(template, conversation.chat_template_kwargs, _TAKEN)
        called = any(message.tool_calls for message in conversation.messages)
        try:
            try:
                text = self._apply(conversation, template, variables, parsed=True)
            except TypeError:  # a template that adds arguments to a text wants them to be one
                if not called:
                    raise
                text = self._apply(conversation, template, variables, parsed=False)
        except _OF_TEMPLATES as error:
            raise bad_request(f"The chat template refuses these messages: {str(error)[:200]}", "messages") from None
        check_nothing_lost(conversation, text)
        return text

    def _apply(self, conversation: Conversation, template: str, variables: dict[str, Any], *, parsed: bool) -> str:
        text = self._chat.apply_chat_template(
            messages_for(template, conversation.messages, parsed=parsed),
            tools=tools_for(conversation.shown_tools),
            tokenize=False,
            add_generation_prompt=conversation.opens_answer,
            continue_final_message=conversation.continue_final_message,
            **variables,
        )
        return str(text)


def load_renderer(model: str, template: str | None = None) -> Renderer:
    """The tokenizer, template and end tokens of a checkpoint's folder or hub id.

    Args:
        model: the folder or the id. template: of conversations, instead of the model's own.

    Raises:
        RendererError: there is no usable tokenizer.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        config, _ = PretrainedConfig.get_config_dict(model)
    except (OSError, ValueError, KeyError) as error:
        raise RendererError(f"cannot load the tokenizer of {model}: {' '.join(str(error).split())[:300]}") from error
    if template is not None:
        tokenizer.chat_template = template
    return Renderer(tokenizer, _end_tokens(model, config, tokenizer))


def _end_tokens(model: str, config: dict[str, Any], tokenizer: Any) -> list[int]:
    """All that any of the model's files calls its end: chat models often end a turn and a text differently."""
    try:
        generation: Any = GenerationConfig.from_pretrained(model).eos_token_id
    except OSError:  # the file is optional
        generation = None
    nested = config.get("text_config") or {}
    found: list[int | None] = []
    for ids in (generation, config.get("eos_token_id"), nested.get("eos_token_id"), tokenizer.eos_token_id):
        found += ids if isinstance(ids, list) else [ids]
    return [id for id in found if id is not None]


async def off_loop(work: Callable[[], _T], size: int, inline: int = INLINE_SIZE) -> _T:
    """The work's result, from a thread where the size is more than may be worked on inline."""
    return work() if size <= inline else await asyncio.to_thread(work)

"""All routes, by the API that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from fastapi import APIRouter, FastAPI

from loraplex_server.api.routes import (
    adapters,
    batches,
    chat,
    completions,
    embeddings,
    files,
    keys,
    llama,
    lorax,
    messages,
    models,
    operations,
    responses,
    tokenize,
    usage,
    vllm_adapters,
)


class _Routes(Protocol):
    router: APIRouter


class Family(NamedTuple):
    """Args: name: of the tag. about: one or two sentences. modules: with the routes."""

    name: str
    about: str
    modules: Sequence[_Routes]


FAMILIES = (
    Family(
        "Completions and chats",
        "OpenAI's, with vLLM's fields beside. `model` names the base or an adapter; `adapters` is a weighted sum.",
        (completions, chat),
    ),
    Family("Responses", "OpenAI's newer API, over the same conversations.", (responses,)),
    Family("Messages", "Anthropic's API, over the same conversations; with its own errors.", (messages,)),
    Family("LoRAX", "What LoRAX's client asks; with its own errors.", (lorax,)),
    Family("llama.cpp", "llama.cpp's own route and its numbers of adapters.", (llama,)),
    Family("Embeddings", "OpenAI's, of the base or of an adapter.", (embeddings,)),
    Family("Models", "What there is to be named.", (models,)),
    Family("Adapters", "Adding, changing and removing adapters needs an admin's key.", (adapters, vllm_adapters)),
    Family(
        "Files and batches",
        "OpenAI's: a file of requests is answered whenever there is room. Without `--state-dir` they answer 501.",
        (files, batches),
    ),
    Family("Tokens", "As vLLM has it.", (tokenize,)),
    Family("Keys and usage", "Who may do what, and what was used.", (keys, usage)),
    Family("Operations", "For probes, scrapers and load balancers; no key is needed.", (operations,)),
)


def include_families(app: FastAPI) -> None:
    """Give an app all routes. They are tried in order, and none is asked as often as those of the last family."""
    app.openapi_tags = [{"name": family.name, "description": family.about} for family in FAMILIES]
    for family in (FAMILIES[-1], *FAMILIES[:-1]):
        for module in family.modules:
            app.include_router(module.router, tags=[family.name])

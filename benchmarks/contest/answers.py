"""Whether a server's adapters do anything: its base and two adapters must answer differently."""

from __future__ import annotations

from typing import Any

import httpx

from contest.contender import Contender, ContestError
from loraplex_server.bench.load.extra import extra_fields
from loraplex_server.bench.load.targets import Targets

PROMPT = 24
TIMEOUT_S = 120.0


def token_ids(contender: Contender, targets: Targets, adapter: int | None, first_id: int) -> list[int]:
    """The ids of one greedy answer.

    Raises:
        ContestError: the server gives none.
    """
    fields: dict[str, Any] = {
        "model": targets.name(adapter),
        "prompt": list(range(first_id, first_id + PROMPT)),
        "temperature": 0,
        **contender.probe.fields,
        **extra_fields(dict(contender.extra), adapter),
    }
    try:
        answer = httpx.post(targets.url + contender.probe.path, json=fields, timeout=TIMEOUT_S)
        answer.raise_for_status()
        found = answer.json()
        ids: list[int] = found["tokens"] if "tokens" in found else found["choices"][0]["token_ids"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise ContestError(f"{contender.label} gives no token ids for one answer: {error!r}") from error
    return ids


def different_answers(contender: Contender, targets: Targets, first_id: int) -> dict[str, list[int]]:
    """The token ids that base, adapter 0 and adapter 1 answer the same prompt with.

    Raises:
        ContestError: two of them are the same: the server ignores adapters, and its rates would mean nothing.
    """
    asked = {"base": None, **{f"adapter {index}": index for index in range(min(2, len(targets.adapters)))}}
    answers = {name: token_ids(contender, targets, adapter, first_id) for name, adapter in asked.items()}
    if len({tuple(ids) for ids in answers.values()}) < len(answers) or not all(answers.values()):
        raise ContestError(f"{contender.label} answers alike with and without adapters: {answers}")
    return answers

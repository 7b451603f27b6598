"""Drafts that are mostly right, so that everything that can become of a draft comes up, whatever the model says."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.speculation.drafter import Drafter
from loraplex_server.engine.speculation.ngram_index import Match

MOST_VIRTUAL = 8  # tokens that an adapter puts before a prompt


def drafting(core: EngineCore, spare_rows: float = 1e9) -> EngineCore:
    """An engine that proposes whatever it can, whatever this machine's steps cost and however often it is wrong.

    Args:
        core: that speculates.
        spare_rows: fewer of them make it choosy.
    """
    if core.scheduler.speculation is None:
        raise ValueError("this engine does not speculate")
    core.scheduler.speculation.spare_rows = spare_rows
    return core


def propose_known(monkeypatch: pytest.MonkeyPatch, known: Sequence[Sequence[int]], vocab: int) -> None:
    """Let all drafters propose how one of the known texts goes on, for a random length, with wrong tokens among them.

    Args:
        monkeypatch: takes it back.
        known: prompts with their answers; more may be added later.
        vocab: that wrong tokens are from.
    """
    draw = random.Random(0)

    def propose(_: Drafter, tokens: Sequence[int], __: Match, count: int) -> tuple[int, ...]:
        for virtual in range(MOST_VIRTUAL):
            text = list(tokens[virtual:])
            for full in known:
                if list(full[: len(text)]) == text:
                    right = full[len(text) : len(text) + draw.randint(1, count)]
                    return tuple(draw.randrange(vocab) if draw.random() < 0.15 else token for token in right)
        return ()

    monkeypatch.setattr(Drafter, "match", lambda *_: Match(2, 0))
    monkeypatch.setattr(Drafter, "draft", propose)

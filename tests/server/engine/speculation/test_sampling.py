"""What is sampled behind drafts has the distribution that it has without them: no seed, only counting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.checkpoints import write_base
from support.engines import make_engine, request, run
from support.knowing_drafts import drafting
from support.tiny import tiny
from transformers import LlamaConfig

from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.speculation.drafter import Drafter
from loraplex_server.engine.speculation.ngram_index import Match

VOCAB = 6
ANSWERS = 3000
PROMPT = [3, 4, 5, 3, 4]
Answer = tuple[int, ...]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"), LlamaConfig(**tiny(VOCAB, 1, 0.25)))


@pytest.fixture
def core(base: Path) -> Iterator[EngineCore]:
    made = drafting(make_engine(base, speculation="ngram", max_num_seqs=32))
    yield made
    made.store.close()


def answers(core: EngineCore, **sampling: object) -> Counter[Answer]:
    """How often each answer of four tokens came."""
    counts: Counter[Answer] = Counter()
    for batch in range(ANSWERS // 30):
        asked = request(f"b{batch}", PROMPT, n=30, max_tokens=4, temperature=1.0, logprobs=None, **sampling)
        counts.update(tuple(output.tokens) for output in run(core, [asked]).values())
    return counts


def chi_square(one: Counter[Answer], other: Counter[Answer]) -> tuple[float, int]:
    """Statistic and degrees of freedom for two samples as large; rare answers are counted together."""
    common = [answer for answer in one | other if one[answer] + other[answer] >= 20]
    cells = [(one[answer], other[answer]) for answer in common]
    rest = (one.total() - sum(a for a, _ in cells), other.total() - sum(b for _, b in cells))
    cells += [rest] if sum(rest) else []
    return sum((a - b) ** 2 / (a + b) for a, b in cells), len(cells) - 1


@pytest.mark.parametrize("sampling", [{}, {"top_k": 3}], ids=["all tokens", "filtered"])
def test_answers_come_as_often_as_without_drafts(
    base: Path, core: EngineCore, monkeypatch: pytest.MonkeyPatch, sampling: dict[str, object]
) -> None:
    # Whatever is proposed; this is often wrong, and often right where the model likes to repeat itself.
    monkeypatch.setattr(Drafter, "match", lambda *_: Match(2, 0))
    monkeypatch.setattr(Drafter, "draft", lambda _, tokens, __, count: tuple(tokens[-1:] * min(count, 3)))
    monkeypatch.setattr(Drafter, "learn", lambda *_: None)
    plain = make_engine(base, max_num_seqs=32)
    expected = answers(plain, **sampling)
    plain.store.close()
    found = answers(core, **sampling)
    drafts = core.stats().drafts
    assert 0.02 < drafts.accepted_total / drafts.tokens_total < 0.98
    assert drafts.tokens_total > ANSWERS / 2
    statistic, freedom = chi_square(expected, found)
    assert freedom > 10
    # Six standard deviations of chi-square above its mean: in a world without a fault once in many millions of runs.
    assert statistic < freedom + 6 * (2 * freedom) ** 0.5

"""What is told of each step: how many tokens, sequences and adapters were in it."""

from __future__ import annotations

from pathlib import Path

from support.checkpoints import prompt
from support.engines import make_engine, request, run


def test_each_step_is_told_once_with_its_width(base: Path, adapters: Path) -> None:
    core = make_engine(base, overlap=False)
    core.forget_history()
    run(core, [request("a", prompt(5, 1), max_tokens=3), request("b", prompt(7, 2), max_tokens=2)])
    steps = core.stats().steps
    assert steps.tokens == [12, 2, 1]
    assert steps.sequences == [2, 2, 1]
    assert steps.adapters == [0, 0, 0]
    assert core.stats().steps.tokens == []
    core.store.close()


def test_adapters_of_a_step_are_counted_once_each(base: Path, adapters: Path) -> None:
    core = make_engine(base, overlap=False)
    names = sorted(folder.name for folder in adapters.iterdir())[:2]
    for name in names:  # so that all are in memory
        run(core, [request(name, prompt(3, 1), [name], root=adapters, max_tokens=1)])
    core.forget_history()
    wanted = [[names[0]], [names[0]], [names[1]], names, []]
    run(core, [request(f"r{i}", prompt(4, i), w, root=adapters, max_tokens=1) for i, w in enumerate(wanted)])
    steps = core.stats().steps
    assert steps.sequences == [5]
    assert steps.adapters == [2]
    core.store.close()

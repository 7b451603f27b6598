"""Which ranks are told to stand still: those that say nothing for long, not those that take long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from support.api import until
from support.checkpoints import write_base
from support.engines import make_engine

from loraplex_kernels.attention import Span
from loraplex_server.engine.parallel.lead import Lead
from loraplex_server.engine.parallel.pulse import KILLED_S, MOST_MISSED, MOST_MISSED_AT_START, Watch
from loraplex_server.engine.parallel.steps import told


@dataclass
class Rank:
    """What a watch sees of one."""

    rank: int
    heard: int = 0
    ready: bool = True
    killed: int = 0
    ended: bool = False
    mortal: bool = True

    def kill(self) -> None:
        self.killed += 1
        self.ended = self.mortal


def test_who_says_nothing_for_so_many_looks_is_killed_and_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    silent, slow = Rank(1), Rank(2)
    watch = Watch([silent, slow], pytest.fail)
    for look in range(3 * MOST_MISSED):
        assert silent.killed == (look >= MOST_MISSED), look
        slow.heard += look % (MOST_MISSED - 1) == 0
        watch.look()
    assert (silent.killed, slow.killed) == (1, 0)
    assert caplog.messages == ["rank 1 of the model stands still: not a word for 30 s; it is killed"]


def test_who_does_not_even_die_of_it_ends_all_the_same() -> None:
    """A process that hangs in the kernel keeps its pipes open: no end of them is ever read."""
    stuck = Rank(1, mortal=False)
    ends: list[str] = []
    watch = Watch([stuck], ends.append)
    said = "rank 1 of the model is killed and does not end; it is left behind"
    for look in range(3 * MOST_MISSED):
        assert ends == [said] * (look >= MOST_MISSED + KILLED_S), look
        watch.look()
    assert stuck.killed == 1


def test_who_starts_is_given_longer_and_not_for_ever() -> None:
    starting = Rank(1, ready=False)
    watch = Watch([starting], pytest.fail)
    for look in range(2 * MOST_MISSED_AT_START):
        assert starting.killed == (look >= MOST_MISSED_AT_START), look
        watch.look()


@pytest.mark.slow
async def test_a_rank_within_a_long_step_is_heard_all_the_while(tmp_path: Path) -> None:
    """It is told a step and waits for the tokens: in native code, as when it computes."""
    core = make_engine(write_base(tmp_path), tensor_parallel_size=2, threads=1)
    try:
        lead = core.runner.followers
        assert isinstance(lead, Lead)
        (child,) = lead.children
        child.steps.send(told([Span(1, 0, [1])], ()))
        before = child.heard
        await until(lambda: child.heard >= before + 3)
    finally:
        core.close()

"""For every test: which of them run, which worker takes them, and how many threads they compute with."""

from __future__ import annotations

import gc
import os
import shlex
import signal

import pytest
from hypothesis import settings
from support.covering import covering
from support.places import ByPlace, in_order

from loraplex_server.engine.cores import usable_cores

# Before torch is imported, which reads them once; processes that tests start inherit them. At these sizes threads only
# wait for each other, and on a busy machine ten times as long if they do so without sleeping.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# What a script starts in the background ignores Ctrl-C, and so does what that starts: tests send it to commands.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MARKERS = (
    "gpu: needs a CUDA device; skipped, and said so, where there is none",
    "slow: takes over ten seconds; begins first where several workers share the tests",
    "exhaustive: runs with --exhaustive only",
    "covering(n): without --exhaustive, of all combinations of the parameters only so many that any n values meet",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exhaustive", action="store_true", help="every combination of parameters, every kernel variant")


def pytest_configure(config: pytest.Config) -> None:
    """Markers, and how many examples hypothesis tries; tests that run pytest in another process hand options on."""
    for marker in MARKERS:  # not in pyproject.toml: gpu.ini has the same
        config.addinivalue_line("markers", marker)
    # No deadline: on a busy machine any example may take long.
    settings.register_profile("everyday", max_examples=150, deadline=None)
    settings.register_profile("exhaustive", max_examples=1000, deadline=None)
    settings.load_profile("exhaustive" if config.getoption("exhaustive") else "everyday")
    if config.getoption("exhaustive"):
        _hand_on("--exhaustive")
    if config.option.inifilename and config.inipath is not None:
        _hand_on(f"-c {shlex.quote(str(config.inipath))}")
    gc.disable()  # until all is collected: of what is imported and made meanwhile, hardly anything is garbage


def _hand_on(option: str) -> None:
    given = os.environ.get("PYTEST_ADDOPTS", "")
    if option not in given:
        os.environ["PYTEST_ADDOPTS"] = f"{given} {option}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("exhaustive"):
        kept = everyday(items)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]
    if hasattr(config, "workerinput"):
        items[:] = in_order(items)


def pytest_collection_finish() -> None:
    """What has been imported and collected stays to the end: no search for garbage need go through it again."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Else compiled packages complain at the end of what was not given back."""
    gc.enable()  # where something could not be collected
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a third of the slow tests' time is waiting for servers, downloads and clocks."""
    return usable_cores() + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByPlace | None:
    """Another scheduler only where one is asked for."""
    return ByPlace(config, log) if config.getoption("dist") == "load" else None


def everyday(items: list[pytest.Item]) -> set[pytest.Item]:
    """All but what is marked `exhaustive`, and of a test marked `covering(n)` fewer combinations of its parameters."""
    kept, thinned = set(), {}
    for item in items:
        marker = item.get_closest_marker("covering")
        if item.get_closest_marker("exhaustive"):
            continue
        if marker is None:
            kept.add(item)
        else:
            thinned.setdefault((item.parent, item.function, *marker.args), []).append(item)
    for (*_, strength), same in thinned.items():
        rows = [tuple(item.callspec._idlist) for item in same]  # of each parametrize, which value
        kept.update(same[number] for number in covering(rows, strength))
    return kept

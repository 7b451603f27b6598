from __future__ import annotations

import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from loraplex_adapters.errors import AdapterError, AdapterRefusedError
from loraplex_adapters.loader import NICENESS, Loader, Outcome

WAIT_S = 120


class Inbox:
    """A loader whose outcomes a test waits for."""

    def __init__(self, threads: int = 1) -> None:
        self.woken = threading.Semaphore(0)
        self.loader = Loader(threads, self.woken.release)
        self.outcomes: list[Outcome[object]] = []

    def run(self, work) -> Outcome[object]:
        self.loader.submit("adapter", work, self.outcomes.append)
        assert self.woken.acquire(timeout=WAIT_S)
        assert self.loader.pending
        self.loader.collect()
        return self.outcomes[-1]


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    found = Inbox()
    yield found
    found.loader.close()


def raising(error: BaseException):
    def work() -> None:
        raise error

    return work


def test_work_runs_on_another_thread_and_its_value_is_collected_on_this_one(inbox: Inbox) -> None:
    outcome = inbox.run(threading.get_ident)
    assert outcome.value not in (None, threading.get_ident())
    assert outcome.error is None
    assert outcome.seconds >= 0
    assert not inbox.loader.pending


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere priorities belong to processes")
def test_the_thread_stands_back_for_others(inbox: Inbox) -> None:
    nice = inbox.run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).value
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert nice == min(own + NICENESS, 19)


def test_a_refusal_is_handed_on_as_it_is(inbox: Inbox) -> None:
    refusal = AdapterRefusedError("adapter", ["this", "that"])
    assert inbox.run(raising(refusal)).error is refusal


def test_an_error_holds_no_frames(inbox: Inbox) -> None:
    """A frame of the load holds the adapter's buffer, and the error lives as long as the requests that it ended."""

    def work() -> None:
        try:
            raise ValueError("below")
        except ValueError as below:
            raise AdapterError("above") from below

    error = inbox.run(work).error
    assert error is not None
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


def test_a_file_that_cannot_be_read_is_told_without_its_path(inbox: Inbox, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        error = inbox.run(raising(PermissionError(13, "Permission denied", "/secret/place"))).error
    assert str(error) == "adapter 'adapter' cannot be read: Permission denied"
    assert "/secret/place" in caplog.text


def test_a_bug_becomes_an_error_and_a_log_and_the_thread_goes_on(inbox: Inbox, caplog) -> None:
    with caplog.at_level(logging.ERROR):
        error = inbox.run(raising(ZeroDivisionError("oops"))).error
    assert type(error) is AdapterError
    assert "ZeroDivisionError: oops" in str(error)
    assert "Traceback" in caplog.text
    assert inbox.run(lambda: 5).value == 5


def test_a_listener_that_fails_does_not_end_the_thread(caplog) -> None:
    called = threading.Semaphore(0)

    def on_ready() -> None:
        called.release()
        raise OSError("the pipe is gone")

    loader = Loader(1, on_ready)
    for _ in range(2):
        loader.submit("adapter", lambda: None, lambda outcome: None)
        assert called.acquire(timeout=WAIT_S)
    loader.close()
    assert "the pipe is gone" in caplog.text


def test_the_thread_keeps_nothing_of_what_it_made(inbox: Inbox) -> None:
    class Large:
        pass

    made = inbox.run(Large).value
    alive = weakref.ref(made)
    inbox.outcomes.clear()
    del made
    inbox.run(lambda: None)
    assert alive() is None


def test_what_is_discarded_tells_nobody(inbox: Inbox) -> None:
    done = threading.Event()
    inbox.loader.discard(done.set)
    assert done.wait(WAIT_S)
    inbox.run(lambda: None)
    assert len(inbox.outcomes) == 1


def test_two_threads_work_at_the_same_time() -> None:
    inbox = Inbox(threads=2)
    meeting = threading.Barrier(2, timeout=WAIT_S)
    for _ in range(2):
        inbox.loader.submit("adapter", meeting.wait, inbox.outcomes.append)
    for _ in range(2):
        assert inbox.woken.acquire(timeout=WAIT_S)
    inbox.loader.collect()
    assert sorted(outcome.value for outcome in inbox.outcomes) == [0, 1]
    inbox.loader.close()


def test_no_threads_is_an_error() -> None:
    with pytest.raises(ValueError, match="loader_threads"):
        Loader(0)


def test_closing_ends_the_threads() -> None:
    before = set(threading.enumerate())  # of which some may end meanwhile
    loader = Loader(3)
    begun = set(threading.enumerate()) - before
    assert len(begun) == 3
    loader.close()
    assert not any(thread.is_alive() for thread in begun)


def test_what_still_waits_when_it_closes_is_not_begun() -> None:
    loader, started, go, begun = Loader(1), threading.Event(), threading.Event(), []

    def slow() -> None:
        started.set()
        assert go.wait(WAIT_S)

    loader.submit("first", slow, lambda outcome: None)
    loader.submit("second", lambda: begun.append(1), lambda outcome: None)
    assert started.wait(WAIT_S)
    closing = threading.Thread(target=loader.close)
    closing.start()
    while not loader.closing:
        time.sleep(0.001)
    go.set()
    closing.join()
    assert begun == []

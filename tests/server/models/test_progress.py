from __future__ import annotations

import io
import logging
import sys

import pytest
from transformers import LlamaConfig

from loraplex_server.models.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_a_bar_that_leaves_no_trace(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress("loading it", 4) as step:
        for _ in range(4):
            step()
    assert "loading it" in terminal.getvalue()
    assert "100%" in terminal.getvalue()
    assert "\x1b[2K" in terminal.getvalue()  # the line is taken away again
    assert not caplog.records


def test_anything_else_sees_one_line_of_the_log(caplog):
    caplog.set_level(logging.INFO)
    with progress("loading it", 4) as step:
        step()
    assert [record.getMessage() for record in caplog.records] == ["loading it"]


def test_an_error_ends_the_bar_and_goes_on(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(ValueError, match="broken"), progress("loading it", 4):
        raise ValueError("broken")


def test_loading_makes_a_step_for_each_layer(make_oracle, monkeypatch):
    steps = []

    def counted(what, total):
        steps.append((what, total))
        return progress(what, total)

    oracle = make_oracle(LlamaConfig)
    monkeypatch.setattr("loraplex_server.models.load.progress", counted)
    oracle.load("int4")
    assert steps == [(f"loading {oracle.folder}, quantization: int4", 3)]

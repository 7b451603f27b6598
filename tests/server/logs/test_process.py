"""What a process says without asking a logger, as a real process says it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

BEGIN = """
import faulthandler, os, signal, sys, threading, warnings, logging
from loraplex_server.logs.configure import configure_logging
from loraplex_server.logs.process import log_everything
from loraplex_server.logs.redaction import know_secrets
know_secrets(["my-own-key"])
configure_logging("info", sys.argv[1], "engine")
log_everything()
"""


def run(program: str, log_format: str = "json", before: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", before + BEGIN + program, log_format]
    return subprocess.run(command, text=True, env=env, capture_output=True, check=False, timeout=120)


def test_warnings_are_lines() -> None:
    ran = run("warnings.warn('old: my-own-key')")
    (line,) = [json.loads(line) for line in ran.stderr.splitlines()]
    assert (line["level"], line["logger"], line["process"]) == ("warning", "py.warnings", "engine")
    assert "UserWarning: old: [redacted]" in line["message"]


@pytest.mark.parametrize(
    ("program", "logger", "said"),
    [
        ("raise ValueError('my-own-key')", "loraplex_server.process", "the process ends: ValueError"),
        (
            "t = threading.Thread(target=lambda: 1 / 0, name='my-own-key'); t.start(); t.join()",
            "loraplex_server.process",
            "the thread '[redacted]' ends: ZeroDivisionError",
        ),
        (
            "import asyncio\n"
            "async def main():\n"
            "    asyncio.get_running_loop().call_soon(lambda: 1 / 0)\n"
            "    await asyncio.sleep(0.05)\n"
            "asyncio.run(main())",
            "asyncio",
            "Exception in callback",
        ),
    ],
)
def test_errors_that_nobody_caught_are_lines_with_their_tracebacks(program: str, logger: str, said: str) -> None:
    ran = run(program)
    (line,) = [json.loads(line) for line in ran.stderr.splitlines()]
    assert line["logger"] == logger
    assert said in line["message"]
    assert "Traceback" in line["exception"]
    assert "my-own-key" not in ran.stderr


def test_a_native_crash_leaves_its_stack_to_read() -> None:
    ran = run("logging.getLogger('x').warning('before')\nos.kill(os.getpid(), signal.SIGSEGV)")
    first, *stack = ran.stderr.splitlines()
    assert json.loads(first)["message"] == "before"
    assert stack[0] == "Fatal Python error: Segmentation fault"
    assert any("most recent call first" in line for line in stack)
    assert ran.returncode == -signal.SIGSEGV


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("library", ["transformers", "huggingface_hub"])
def test_libraries_write_as_we_do(library: str, when: str) -> None:
    use = f"from {library}.utils import logging as theirs\ntheirs.get_logger('{library}.x').warning('once')"
    imports = f"import {library}.utils.logging as theirs\ntheirs.get_logger()\n" if when == "before" else ""
    ran = run(use, before=imports)
    (line,) = [json.loads(line) for line in ran.stderr.splitlines()]
    assert (line["logger"], line["message"]) == (f"{library}.x", "once")


def test_whoever_interrupts_sees_no_log_of_it() -> None:
    ran = run("raise KeyboardInterrupt")
    assert "the process ends" not in ran.stderr

"""The limit is a process's own, so each case has one of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from loraplex_server.api.process import open_files
soft, hard, open_files.WANTED = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
open_files.allow_open_files()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "expected"),
    [(256, 4096, 65_536, 4096), (256, 4096, 2048, 2048), (4096, 4096, 65_536, 4096), (3000, 4096, 2048, 3000)],
)
def test_the_soft_limit_is_raised_as_far_as_it_may_be_and_never_lowered(
    soft: int, hard: int, wanted: int, expected: int
) -> None:
    numbers = map(str, (soft, hard, wanted))
    told = subprocess.run([sys.executable, "-c", PROGRAM, *numbers], capture_output=True, text=True, check=True).stdout
    assert told.split() == [str(expected), str(hard)]

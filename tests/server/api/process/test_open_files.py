"""The limit is a process's own, so each case has one of its own."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from loraplex_server.api.process.open_files import allow_open_files
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
allow_open_files()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "expected"), [(256, 4096, 4096), (4096, 4096, 4096), (1024, 100_000, 65_536), (70_000, 100_000, 70_000)]
)
def test_the_soft_limit_is_raised_as_far_as_it_may_be_and_never_lowered(soft: int, hard: int, expected: int) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY and most < hard:
        pytest.skip(f"no process may have more than {most} open files here")
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(soft), str(hard)], capture_output=True, text=True, check=True
    ).stdout
    assert told.split() == [str(expected), str(hard)]

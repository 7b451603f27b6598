"""Print what the server needs installed, without the server: python requirements.py [--cuda] [EXTRA ...]

Without --cuda Triton is left out, a gigabyte that nothing imports where there is no GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tomllib


def main(arguments: list[str]) -> int:
    """0; 2 where pyproject.toml has no such extra."""
    cuda, extras = "--cuda" in arguments, [each for each in arguments if each != "--cuda"]
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = project["optional-dependencies"]
    needed = [line for line in project["dependencies"] if cuda or not line.startswith("triton")]
    if unknown := [extra for extra in extras if extra not in known]:
        print(f"requirements.py: {', '.join(unknown)}: not among the extras {', '.join(known)}", file=sys.stderr)
        return 2
    print(*needed, *(line for extra in extras for line in known[extra]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

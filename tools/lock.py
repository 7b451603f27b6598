"""Print constraints for everything that is installed here: what the tests ran on, and nothing newer."""

from __future__ import annotations

import importlib.metadata
import re

# Installed with every environment, or made from this very tree; and triton, of which torch's CUDA build takes one
# version only: a pin to another would keep the two apart.
LEFT_OUT = {"loraplex", "pip", "setuptools", "triton", "wheel"}

HEADER = """\
# What the tests run on; written by `make lock`. pip takes it with -c: it pins, it installs nothing by itself.
"""


def main() -> None:
    """A line a distribution, without local version labels (torch's +cpu): the index decides which build it has."""
    pins = {
        re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower(): distribution.version.split("+")[0]
        for distribution in importlib.metadata.distributions()
    }
    print(HEADER, end="")
    for name in sorted(set(pins) - LEFT_OUT):
        print(f"{name}=={pins[name]}")


if __name__ == "__main__":
    main()

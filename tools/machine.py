"""Install the programs that tests/deploy drives, from the machine's own packages: python tools/machine.py

A test whose program is missing is skipped and says so; nothing but tests needs any of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

# package -> the program looked for
PACKAGES = {
    "buildah": "buildah",
    "iproute2": "ip",
    "mmdebstrap": "mmdebstrap",
    "prometheus": "promtool",
    "runc": "runc",
}


def main() -> int:
    """0; 1 where one could not be installed."""
    missing = [package for package, name in PACKAGES.items() if shutil.which(name) is None]
    if not missing:
        return 0
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print(f"machine.py: install {', '.join(missing)} by hand; their tests are skipped until then")
        return 0
    print(f"apt-get install {' '.join(missing)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
    for command in (["apt-get", "update", "-q"], install):
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            print(done.stdout[-3000:], file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

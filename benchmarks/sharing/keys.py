"""Keys of tenants, made as an operator makes them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from serving.process import own_environment


def make_key(file: Path, tenant: str) -> str:
    """A new key of a tenant, kept in `file`.

    Raises:
        subprocess.CalledProcessError: it could not be made.
    """
    command = [sys.executable, "-m", "loraplex_server.cli", "keys", "create", "--keys", str(file), "--json"]
    made = subprocess.run([*command, "--tenant", tenant], check=True, capture_output=True, env=own_environment())
    return str(json.loads(made.stdout)["secret"])

"""One server with tenants and too little of everything, and a Prometheus that watches it with the real rules."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.prometheus import Prometheus, scraping
from support.servers import DEMO, ROOT, Server, serving
from support.tenants import make_key

RULES = (ROOT / "deploy" / "prometheus" / "rules.yaml").read_text(encoding="utf-8")

BOARD_TEXT = (ROOT / "deploy" / "grafana" / "dashboards" / "loraplex.json").read_text(encoding="utf-8")
BOARD: dict[str, Any] = json.loads(BOARD_TEXT)


@dataclass(frozen=True)
class World:
    """Args: secrets: of visitors, as traffic wants them. admin: the key with which Prometheus comes."""

    server: Server
    prometheus: Prometheus
    secrets: dict[str, str]
    admin: str


@contextlib.contextmanager
def watched(folder: Path, rules: str = RULES) -> Iterator[World]:
    """Both run until the block ends. Args: folder: for all their files. rules: that Prometheus evaluates."""
    adapters, state = folder / "adapters", folder / "state"
    shutil.copytree(DEMO / "adapters", adapters)
    shutil.copytree(adapters / "upper", adapters / "broken")
    (adapters / "broken" / "adapter_model.safetensors").write_bytes(b"nothing that could be read")
    state.mkdir()
    secrets = {
        "": make_key(state, "acme")[1],
        "limited": make_key(state, "globex", requests_per_minute=3)[1],
        "urgent": make_key(state, "initech", priority=-5)[1],
    }
    key_file = folder / "loraplex.key"
    admin = make_key(state, "monitoring", admin=True)[1]
    key_file.write_text(admin)
    arguments = [
        *(
            "serve",
            str(DEMO / "base"),
            "--adapters",
            str(adapters),
            "--state-dir",
            str(state),
            "--speculation",
            "ngram",
        ),
        # Copies of remote adapters have a place, though nothing is fetched.
        *("--allow-adapter-source", "org/*", "--adapter-cache", str(folder / "cache")),
        # Not all adapters fit, nor do many long answers.
        *("--adapter-memory", "1400KiB", "--adapter-host-memory", "700KiB", "--kv-cache-memory", "1536KiB"),
        *("--max-num-seqs", "8", "--max-queued-requests", "24"),
    ]
    with serving(arguments, folder / "log") as server:
        config = documented(server.url.removeprefix("http://"), key_file)
        with scraping(folder / "prometheus", config, rules) as prometheus:
            yield World(server, prometheus, secrets, admin)


def documented(target: str, key_file: Path) -> dict[str, Any]:
    """The scrape configuration of docs/tenants.md, with this server and this key."""
    page = (ROOT / "docs" / "tenants.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(scrape_configs:.*?)```", page, re.DOTALL)
    config: dict[str, Any] = yaml.safe_load(block)
    (job,) = config["scrape_configs"]
    job["authorization"]["credentials_file"] = str(key_file)
    job["static_configs"] = [{"targets": [target]}]
    return config

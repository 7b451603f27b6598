"""A real Prometheus: what it scrapes, what its rules make of it, and how it is asked."""

from __future__ import annotations

import contextlib
import math
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from support.installed import program
from support.servers import NO_TLS, held_port

LIMIT_S = 600.0  # only what never comes takes so long
PACE = 30  # of a hurried clock


@dataclass(frozen=True)
class Series:
    """Labels and the latest value."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Prometheus:
    """A running one."""

    url: str

    def ask(self, path: str, **parameters: Any) -> Any:
        """What the API says; its error, where it has one, fails the test."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=120, verify=NO_TLS).json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def query(self, expr: str) -> list[Series]:
        """Series of this moment."""
        data = self.ask("query", query=expr)
        if data["resultType"] == "scalar":
            return [Series({}, float(data["result"][1]))]
        return [Series(each["metric"], float(each["value"][1])) for each in data["result"]]

    def value(self, expr: str) -> float:
        """Of the only series; not a number where there is none."""
        found = self.query(expr)
        assert len(found) <= 1, found
        return found[0].value if found else math.nan

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, with its state, health and alerts."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        return {rule["name"] for rule in self.rules() if rule.get("state") == "firing"}

    def wait(self, condition: str, seconds: float = LIMIT_S) -> None:
        """Until a query finds something."""
        deadline = time.monotonic() + seconds
        while not self.query(condition):
            assert time.monotonic() < deadline, f"never: {condition}"
            time.sleep(0.2)


@contextlib.contextmanager
def scraping(folder: Path, config: Mapping[str, Any], rules: str) -> Iterator[Prometheus]:
    """Run it every second, on loopback, until the block ends; ready when it begins.

    Args:
        folder: for its files.
        config: its own, scrape_configs for the most part.
        rules: a file of rules.
    """
    folder.mkdir()
    (folder / "rules.yaml").write_text(rules, encoding="utf-8")
    each = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    whole = {**config, "global": each, "rule_files": [str(folder / "rules.yaml")]}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    with held_port() as port:
        command = [
            *(program("prometheus"), f"--config.file={folder / 'prometheus.yaml'}"),
            *(f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"),
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_ready(f"http://127.0.0.1:{port}", process, folder / "log")
            yield Prometheus(f"http://127.0.0.1:{port}")
        finally:
            process.kill()  # nothing of it is kept
            process.wait()


def hurried(rules: str) -> str:
    """The same rules for a clock that runs thirty times as fast: what is a minute takes two seconds."""
    quick = re.sub(r"\b(\d+)m\b", lambda found: f"{int(found[1]) * 60 // PACE}s", rules)
    quick = re.sub(r"\b(\d+)h\b", lambda found: f"{int(found[1]) * 3600 // PACE}s", quick)
    return re.sub(r"(process_start_time_seconds > )(\d+)", lambda found: f"{found[1]}{int(found[2]) // PACE}", quick)


def wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/-/ready", verify=NO_TLS).status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"Prometheus was not ready:\n{log.read_text()}")

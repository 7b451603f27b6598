"""The bundled demo: where it lies, and what is said of it once it is served."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loraplex_server.api.process.start_error import StartError
from loraplex_server.engine.messages import EngineInfo

PARTS = ("base", "adapters", "manifest.json")


class Example(msgspec.Struct, frozen=True):
    """A prompt that no training saw, and its answer."""

    prompt: str
    answer: str


class DemoAdapter(msgspec.Struct, frozen=True):
    """What the manifest says of an adapter."""

    name: str
    variant: str
    ranks: list[int]
    example: Example


class Manifest(msgspec.Struct, frozen=True):
    """`manifest.json`, as the training script writes it; the part that is shown here."""

    base: str
    adapters: list[DemoAdapter]


def find_demo() -> Path:
    """The demo's folder: of the checkout that this file is in, or of the installed package.

    Raises:
        StartError: it is in neither.
    """
    here = Path(__file__).resolve()
    places = (here.parents[2] / "examples" / "demo", here.parent / "demo_assets")
    for place in places:
        if all((place / part).exists() for part in PARTS):
            return place
    looked = " nor ".join(str(place) for place in places)
    raise StartError(f"the bundled demo is neither in {looked}")


class Demo:
    """Args: folder: that holds the base, the adapters and the manifest.

    Raises:
        StartError: the manifest cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError) as error:
            raise StartError(f"the demo's manifest cannot be read: {error}") from error

    @property
    def defaults(self) -> dict[str, Any]:
        """Settings that the command line, the environment and a file may override."""
        return {
            "model": str(self._folder / "base"),
            "adapters": self._folder / "adapters",
            "served_model_name": [self._manifest.base],
        }

    def announce(self, url: str, info: EngineInfo, console: Console | None = None) -> None:
        """Print what is served, and two lines to try."""
        console = console or Console()
        console.print()
        console.print(self._table(info))
        console.print("\nTry it in another terminal:\n")
        for line in self.curl_lines(url):
            # As it is, however narrow the terminal: it is there to be copied.
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        console.print()

    def curl_lines(self, url: str) -> list[str]:
        """One question to an adapter in one piece, and one to another adapter as a stream."""
        first, second = self._manifest.adapters[0], self._manifest.adapters[-1]
        return [_curl(url, first, stream=False), _curl(url, second, stream=True)]

    def _table(self, info: EngineInfo) -> Table:
        title = f"{self._manifest.base} on {info.device}, {info.dtype}: all in one batch"
        table = Table(title=title, title_style="bold", box=box.SIMPLE_HEAD)
        # One line for each, whatever the terminal's width: the example tells the task better than words would.
        table.add_column("model", no_wrap=True)
        for header, width in (("for example", 30), ("adapter", 22)):
            table.add_column(header, overflow="ellipsis", no_wrap=True, max_width=width)
        table.add_column("rank", no_wrap=True)
        for adapter in self._manifest.adapters:
            example = Text(f"{adapter.example.prompt} → {adapter.example.answer}")
            ranks = ", ".join(map(str, adapter.ranks))
            table.add_row(Text(adapter.name, style="bold"), example, Text(adapter.variant), ranks)
        return table


def _curl(url: str, adapter: DemoAdapter, stream: bool) -> str:
    body: dict[str, Any] = {
        "model": adapter.name,
        "messages": [{"role": "user", "content": adapter.example.prompt}],
        "temperature": 0,
    }
    if stream:
        body["stream"] = True
    data = shlex.quote(json.dumps(body, ensure_ascii=False))
    return f"curl {'-N ' if stream else ''}{url}/v1/chat/completions -H 'Content-Type: application/json' -d {data}"

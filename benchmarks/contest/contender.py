"""What can be compared: a server, and how it is started and asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console
from serving.inputs import Inputs
from serving.process import Running

from contest.rows import Row
from loraplex_server.bench.limits.formats import Format


class ContestError(Exception):
    """A server cannot be measured; the message says why, and what to do."""


@dataclass(frozen=True)
class Start:
    """One start of a server.

    Attributes:
        command: of its first process.
        ready: the path of its API that says when it is ready.
        environment: None for this process's own, with this tree's packages.
        rows: names of the rows that it is asked.
    """

    command: Sequence[str]
    ready: str
    rows: Sequence[str]
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Probe:
    """How one answer's token ids are asked for.

    Attributes:
        path: of the endpoint.
        fields: of the request, besides `model`, `prompt`, `temperature` and those of `Contender.extra`.
    """

    path: str = "/v1/completions"
    fields: Mapping[str, Any] = field(default_factory=lambda: {"max_tokens": 16, "return_token_ids": True})


class Contender(Protocol):
    """A server in one of its formats."""

    @property
    def name(self) -> str:
        """On the command line."""

    @property
    def label(self) -> str:
        """Heads its column."""

    @property
    def peer(self) -> bool:
        """Whether it is somebody else's."""

    @property
    def form(self) -> Format:
        """Of the layers' linears; for the bound."""

    @property
    def head(self) -> Format:
        """Of the lm_head; the same."""

    @property
    def extra(self) -> Mapping[str, Any]:
        """Further fields of every request, as `--extra` of the load generator has them."""

    @property
    def names_adapters(self) -> bool:
        """Whether a request names its adapter as its model; if not, an index in `extra` tells."""

    @property
    def probe(self) -> Probe:
        """How the token ids of one answer are asked for."""

    def versions(self) -> Mapping[str, str] | None:
        """Of what it runs; None where it is not installed."""

    def prepare(self, inputs: Inputs, console: Console) -> None:
        """Make what it needs of the model and the adapters, where it is not there already.

        Raises:
            ContestError: it cannot be made.
        """

    def starts(self, inputs: Inputs, rows: Mapping[str, Row], port: int) -> Sequence[Start]:
        """The starts that these rows need, in order."""

    def started(self, server: Running) -> None:
        """Called once it is ready, before any request."""

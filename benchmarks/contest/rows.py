"""The rows of the comparison: what is asked of every server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loraplex_server.bench.load.lengths import Fixed
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.popularity import Popularity

# Enough to have the row's adapters loaded, and the code run that its batch needs.
WARMUP_PROMPT, WARMUP_OUTPUT = 32, 8


@dataclass(frozen=True)
class Row:
    """One kind of load, and the figure that is compared.

    Attributes:
        title: for people.
        concurrency: requests at once.
        law: which adapters they name, as `loraplex bench serve --popularity` has it.
        prompt: tokens.
        output: tokens of each answer.
        waves: of `concurrency` requests, in one run.
        first_token: the figure is the median time to the first token, in ms, and less is better; if not, it is output
            tokens a second from the first request to the last answer.
    """

    title: str
    concurrency: int
    law: str
    prompt: int = 128
    output: int = 64
    waves: int = 1
    first_token: bool = False

    @property
    def distinct(self) -> int:
        """Adapters among the requests that run at once."""
        return {"base": 0, "one": 1}.get(self.law, self.concurrency)

    @property
    def tokens(self) -> int:
        """Of all answers of a run."""
        return self.concurrency * self.waves * self.output

    def options(self, token_ids: tuple[int, int], extra: Mapping[str, Any]) -> LoadOptions:
        """The load of one run."""
        return self._load(self.prompt, self.output, self.waves, token_ids, extra)

    def warmup(self, token_ids: tuple[int, int], extra: Mapping[str, Any]) -> LoadOptions:
        """A short one, with the same requests at once and the same adapters."""
        prompt, output = min(WARMUP_PROMPT, self.prompt), min(WARMUP_OUTPUT, self.output)
        return self._load(prompt, output, 1, token_ids, extra)

    def figure(self, summary: Mapping[str, Any]) -> float | None:
        """What is compared, of a run or of the medians of runs."""
        if not self.first_token:
            value: float | None = summary["output_tok_s"] or None
            return value
        times = summary["times"]["ttft_ms"]
        return None if times is None else float(times["p50"])

    def better(self, value: float, other: float) -> float:
        """How many times as good `value` is."""
        return other / value if self.first_token else value / other

    def _load(
        self, prompt: int, output: int, waves: int, token_ids: tuple[int, int], extra: Mapping[str, Any]
    ) -> LoadOptions:
        return LoadOptions(
            requests=self.concurrency * waves,
            concurrency=self.concurrency,
            popularity=Popularity(self.law),
            prompt=Fixed(prompt),
            output=Fixed(output),
            token_ids=token_ids,
            extra=dict(extra),
        )


ROWS = {
    "base-1": Row("1 request, base", 1, "base"),
    "one-1": Row("1 request, 1 adapter", 1, "one"),
    "distinct-8": Row("8 requests, 8 adapters", 8, "distinct"),
    "base-32": Row("32 requests, base", 32, "base"),
    "one-32": Row("32 requests, 1 adapter", 32, "one"),
    "distinct-32": Row("32 requests, 32 adapters", 32, "distinct"),
    "ttft-512": Row("first token of a 512-token prompt, 1 adapter", 1, "one", 512, 4, waves=3, first_token=True),
}

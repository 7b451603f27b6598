"""How near a run on an engine comes to what the machine allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import median

from loraplex_server.bench.limits.bound import Served
from loraplex_server.bench.limits.formats import FORMATS, head_format
from loraplex_server.bench.limits.model import ModelShape
from loraplex_server.bench.limits.rates import Rates
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.summary import RunSummary
from loraplex_server.engine.messages import EngineInfo


@dataclass(frozen=True)
class Fractions:
    """Bounds in output tokens a second, and the share of each that was reached; None where the load has no such rate.

    Attributes:
        decode_bound_tok_s: of steps with all requests past their first token, in the middle of their answers.
        decode: what the steady rate reaches of it.
        bound_tok_s: of whole waves, prefill included.
        end_to_end: what the output rate reaches of it.
    """

    decode_bound_tok_s: float | None = None
    decode: float | None = None
    bound_tok_s: float | None = None
    end_to_end: float | None = None

    def __str__(self) -> str:
        parts = []
        if self.decode is not None:
            parts.append(f"decode reaches {self.decode:.0%} of the {self.decode_bound_tok_s:.0f} tok/s that it could")
        if self.end_to_end is not None:
            parts.append(f"end to end {self.end_to_end:.0%} of {self.bound_tok_s:.0f}")
        return "; ".join(parts)


def served_as(info: EngineInfo, shape: ModelShape, rates: Rates, rank: int, head: str = "auto") -> Served:
    """The model as this engine has it; `head` is `--head-quantization`.

    Raises:
        ValueError: bounds are not known for its device or its format.
    """
    form = info.dtype if info.quantization == "none" else info.quantization
    if info.device != "cpu" or form not in FORMATS:
        raise ValueError(f"no bounds for {form} on {info.device}: they are for {', '.join(FORMATS)} on the CPU")
    return Served(shape, rates, FORMATS[form], rank, head_format(FORMATS[form], head))


def fractions(served: Served, options: LoadOptions, summary: RunSummary, adapters: int) -> Fractions:
    """Of a run, or of the median of several, in a closed loop.

    Args:
        served: the model.
        options: the load.
        summary: what came of it.
        adapters: that requests choose from.
    """
    batch = options.at_once
    if batch is None or not summary.ok:
        return Fractions()
    prompt, output = summary.prompt_tokens / summary.ok, summary.output_tokens / summary.ok
    distinct = round(options.popularity.distinct(adapters, round(batch * (1 - options.base_share))))
    allowed = batch / served.decode(batch, prompt + output / 2, distinct).ms * 1e3
    steady = summary.steady_decode_tok_s
    found = Fractions(round(allowed, 2), None if steady is None else round(steady / allowed, 4))
    if options.requests % batch:
        return found
    whole = batch * output / served.wave_s(batch, round(prompt), round(output), distinct)
    end_to_end = round(summary.output_tok_s / whole, 4)
    return Fractions(found.decode_bound_tok_s, found.decode, round(whole, 2), end_to_end)


def typical(found: Sequence[Fractions]) -> Fractions:
    """The medians of several runs."""
    values = {field.name: [getattr(each, field.name) for each in found] for field in fields(Fractions)}
    known = {name: [value for value in each if value is not None] for name, each in values.items()}
    return Fractions(**{name: median(each) if each else None for name, each in known.items()})

"""The command line of a load: on a server, or on an engine in this process."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from loraplex_server.bench.load import lengths, popularity
from loraplex_server.bench.load.counts import not_negative, positive
from loraplex_server.bench.load.options import ENDPOINTS, LoadOptions, Slo

T = TypeVar("T")
DEFAULT_TIMEOUT_S = 600.0


def server_parser(prog: str) -> argparse.ArgumentParser:
    """All settings of a load on a server, in groups."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Load on an OpenAI-compatible server: throughput and latency, one JSON line a run, and a table.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    _add_server(parser.add_argument_group("server"))
    _add_load(parser.add_argument_group("load"))
    _add_requests(parser.add_argument_group("requests"))
    _add_report(parser.add_argument_group("runs and report"))
    return parser


def engine_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """The same settings but for the server's; it knows none of the engine's own."""
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} MODEL [options of `loraplex serve` that an engine has] [options below]",
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    group = parser.add_argument_group("load")
    group.add_argument("--num-adapters", type=positive, metavar="N", help="use only N of --adapters; fewer is an error")
    _add_load(group)
    _add_requests(parser.add_argument_group("requests"))
    _add_report(parser.add_argument_group("runs and report"))
    parser.add_argument("--no-roofline", action="store_true", help="do not measure the machine, give no bounds")
    return parser


def _add_server(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--url", default="http://127.0.0.1:8000", help="the server's root, without /v1")
    group.add_argument("--endpoint", choices=ENDPOINTS, default="completions", help="chat sends words, not token ids")
    group.add_argument("--model", help="the base model's name; without it, the listed one that has no parent")
    group.add_argument("--models", nargs="+", help="the adapters' names; without it, those listed with a parent")
    group.add_argument("--adapters", type=positive, metavar="N", help="use only N adapters; fewer is an error")
    group.add_argument("--api-key", help="sent as a bearer token")
    group.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_S, help="seconds for a whole answer")
    group.add_argument(
        "--extra", type=_object, default={}, metavar="JSON",
        help='more fields for each request; "{i}" becomes the adapter\'s index, null takes a field out',
    )  # fmt: skip


def _add_load(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--concurrency", type=positive, metavar="C", help="closed loop: C requests at once (32 unless --rate)"
    )
    group.add_argument("--rate", type=float, metavar="R", help="open loop: R arrivals a second on average")
    group.add_argument("--burstiness", type=float, default=1.0, help="shape of the gaps with --rate; 1 is Poisson")
    group.add_argument("--requests", type=positive, metavar="N", help="requests in a run; one wave of C unless given")
    group.add_argument("--popularity", type=_popularity, default="base", help=popularity.FORMS)
    group.add_argument("--base-share", type=float, default=0.0, help="share of requests to the base model all the same")


def _add_requests(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--prompt", type=_lengths, default="128", metavar="LENGTH", help=lengths.FORMS)
    group.add_argument("--output", type=_lengths, default="64", metavar="LENGTH", help="the same forms")
    group.add_argument("--token-ids", type=id_range, default="1000:16000", metavar="LOW:HIGH", help="prompts' ids")
    group.add_argument("--no-ignore-eos", action="store_true", help="let the model end its answers")


def _add_report(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--runs", type=positive, default=1, help="repeat; the summary has the medians")
    group.add_argument(
        "--warmup", type=not_negative, default=1, metavar="W", help="waves of C requests before the first run"
    )
    group.add_argument("--seed", type=int, default=0, help="run k uses seed + k, so that no run repeats a prompt")
    group.add_argument("--slo-ttft", type=float, metavar="MS", help="for goodput: bound on time to first token")
    group.add_argument("--slo-itl", type=float, metavar="MS", help="for goodput: bound on a request's mean token gap")
    group.add_argument("--label", default="", help="a name for the JSON lines and the table")
    group.add_argument("--out", type=Path, metavar="FILE", help="append the JSON lines here too")
    group.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the runs (needs matplotlib)")


def load_options(given: argparse.Namespace) -> LoadOptions:
    """The load that the command line asks for.

    Raises:
        ValueError: a setting is out of range.
    """
    concurrency = given.concurrency
    if concurrency is None and given.rate is None:
        concurrency = 32
    if given.requests is None and concurrency is None:
        raise ValueError("--rate needs --requests")
    return LoadOptions(
        requests=concurrency if given.requests is None else given.requests,
        concurrency=concurrency,
        rate=given.rate,
        burstiness=given.burstiness,
        popularity=given.popularity,
        base_share=given.base_share,
        prompt=given.prompt,
        output=given.output,
        token_ids=given.token_ids,
        endpoint=getattr(given, "endpoint", ENDPOINTS[0]),
        ignore_eos=not given.no_ignore_eos,
        extra=getattr(given, "extra", {}),
        slo=Slo(given.slo_ttft, given.slo_itl),
        timeout_s=getattr(given, "timeout", DEFAULT_TIMEOUT_S),
    )


def _lengths(text: str) -> lengths.Lengths:
    return _or_argument_error(lengths.parse_lengths, text)


def _popularity(text: str) -> popularity.Popularity:
    return _or_argument_error(popularity.parse_popularity, text)


def _or_argument_error(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        # argparse shows the text of this error only, and "invalid _lengths value" of any other.
        raise argparse.ArgumentTypeError(str(error)) from error


def id_range(text: str) -> tuple[int, int]:
    """`LOW:HIGH`, for argparse."""
    low, _, high = text.partition(":")
    if not (low.isdigit() and high.isdigit()):
        raise argparse.ArgumentTypeError(f"LOW:HIGH, for example 1000:16000; got {text!r}")
    return int(low), int(high)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"a JSON object, got {text!r}")
    return value

"""`loraplex plan`: what a server would take of memory, and how fast it could be at best."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from loraplex_server.bench.load.counts import not_negative, positive
from loraplex_server.commands.error import CommandError
from loraplex_server.commands.parser import Parser, show
from loraplex_server.engine.config import (
    AdapterDType,
    DType,
    EngineConfig,
    HeadQuantization,
    KVCacheDType,
    Quantization,
)
from loraplex_server.plan.asked import Adapters, Asked, Machine
from loraplex_server.plan.error import PlanError
from loraplex_server.plan.gpus import GPUS
from loraplex_server.settings import SettingsError
from loraplex_server.settings.quantity import format_bytes, parse_bytes
from loraplex_server.torch_free import hide_torch

_ENGINE = EngineConfig(model="")
_RANK = 16


def plan(arguments: Sequence[str]) -> int:
    """Returns the exit code; 1 by CommandError where nothing fits.

    Raises:
        SettingsError: an argument is bad or missing.
        CommandError: there is no such model, or no such server on this machine.
    """
    given = _parser().parse_args(arguments)
    machine, asked = _machine(given), _asked(given)
    adapters = _adapters(given)
    if given.adapter is None:
        hide_torch()  # transformers reads configs faster without; an adapter's folder is read by code that needs it
    from loraplex_server.plan.fields import plan_fields
    from loraplex_server.plan.make import make_plan
    from loraplex_server.plan.model import read_model
    from loraplex_server.plan.speed import speeds
    from loraplex_server.plan.table import plan_table

    try:
        model = read_model(given.model, given.max_model_len)
        made = make_plan(model, machine, asked, adapters)
    except PlanError as error:
        raise CommandError(str(error)) from error
    bounds = speeds(made, given.context)
    show(given, plan_fields(made, bounds), plan_table(made, bounds))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="loraplex plan",
        description="What a server would take of memory, and how fast it could be at best. No weights are read.",
        allow_abbrev=False,
    )
    parser.add_argument("--model", required=True, metavar="MODEL", help="a checkpoint's folder, or a hub id")
    _add_machine(parser)
    of_adapters = parser.add_argument_group("adapters")
    of_adapters.add_argument("--adapters", type=not_negative, default=1, metavar="N", help="how many (default: 1)")
    of_adapters.add_argument("--rank", type=positive, metavar="R", help="of each (default: 16)")
    of_adapters.add_argument(
        "--targets", type=_names, default=(), metavar="NAMES", help="such as q_proj,v_proj (default: all linears)"
    )
    of_adapters.add_argument(
        "--adapter", type=Path, metavar="DIR", help="one that they are all like, in place of --rank and --targets"
    )
    _add_settings(parser)
    parser.add_argument(
        "--context",
        type=positive,
        default=1024,
        metavar="TOKENS",
        help="of each request, for the speed (default: 1024)",
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    return parser


def _add_machine(parser: argparse.ArgumentParser) -> None:
    machine = parser.add_argument_group("machine")
    device = machine.add_mutually_exclusive_group(required=True)
    device.add_argument("--gpu", metavar="NAME|SIZE", help=f"its memory, such as 80GB, or one of {', '.join(GPUS)}")
    device.add_argument("--cpu", action="store_true", help="a server without a GPU, in --memory")
    machine.add_argument("--memory", type=_size, metavar="SIZE", help="of the host: what a CPU server may take of it")
    machine.add_argument("--bandwidth", type=_rate, metavar="GB/S", help="of memory, for the bound on the speed")
    machine.add_argument(
        "--tensor-parallel-size", type=positive, default=1, metavar="N", help="GPUs that the model is divided among"
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    settings = parser.add_argument_group("settings, as `loraplex serve` has them")

    def choice(name: str, literal: object, default: str) -> None:
        settings.add_argument(name, choices=get_args(literal), default=default)

    choice("--dtype", DType, _ENGINE.dtype)
    choice("--quantization", Quantization, _ENGINE.quantization)
    choice("--head-quantization", HeadQuantization, _ENGINE.head_quantization)
    choice("--kv-cache-dtype", KVCacheDType, _ENGINE.kv_cache_dtype)
    choice("--adapter-dtype", AdapterDType, _ENGINE.adapter_dtype)
    for name in ("--kv-cache-memory", "--adapter-memory"):
        settings.add_argument(name, type=_size, metavar="SIZE")
    settings.add_argument("--adapter-host-memory", type=_size_or_none, metavar="SIZE")
    settings.add_argument("--max-model-len", type=positive, metavar="TOKENS")
    settings.add_argument("--max-num-seqs", type=positive, default=_ENGINE.max_num_seqs, metavar="N")
    settings.add_argument("--max-num-batched-tokens", type=positive, metavar="TOKENS")
    settings.add_argument("--block-size", type=positive, default=_ENGINE.block_size, metavar="TOKENS")
    settings.add_argument("--gpu-memory-utilization", type=_share, default=1.0, metavar="SHARE")


def _machine(given: argparse.Namespace) -> Machine:
    if given.cpu:
        if given.memory is None:
            raise SettingsError(["--cpu: --memory SIZE says how much the server may take"])
        if given.tensor_parallel_size > 1:
            raise SettingsError(["--tensor-parallel-size: a CPU server is not divided to fit; leave it out"])
        return Machine(f"a CPU with {format_bytes(given.memory)}", "cpu", given.memory, read_gb_s=given.bandwidth)
    gpu, ranks = GPUS.get(given.gpu), given.tensor_parallel_size
    if gpu is not None:
        rate = given.bandwidth or gpu.read_gb_s
        return Machine(given.gpu, "cuda", gpu.memory, given.memory, ranks, rate, gpu.tflops)
    try:
        memory = _size(given.gpu)
    except argparse.ArgumentTypeError:
        raise SettingsError(
            [f"--gpu: {given.gpu!r} is neither a size such as 80GB nor one of {', '.join(GPUS)}"]
        ) from None
    return Machine(f"a GPU of {format_bytes(memory)}", "cuda", memory, given.memory, ranks, given.bandwidth)


def _adapters(given: argparse.Namespace) -> Adapters:
    if given.adapter is not None and (given.rank is not None or given.targets):
        raise SettingsError(["--adapter: it says itself what its rank and targets are; leave out --rank and --targets"])
    return Adapters(given.adapters, given.rank or _RANK, given.targets, given.adapter)


def _asked(given: argparse.Namespace) -> Asked:
    if given.cpu and given.gpu_memory_utilization != 1.0:
        raise SettingsError(["--gpu-memory-utilization is a GPU's; of a host --memory says how much to take"])
    return Asked(**{name: getattr(given, name) for name in Asked.__dataclass_fields__})


def _size(text: str) -> int:
    if not (size := _size_or_none(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size")
    return size


def _size_or_none(text: str) -> int:
    """From 0 up."""
    try:
        return cast(int, parse_bytes(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is {error}") from error


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return rate


def _share(text: str) -> float:
    share = _rate(text)
    if share > 1:
        raise argparse.ArgumentTypeError(f"{text} is more than all of it, which is 1")
    return share


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())

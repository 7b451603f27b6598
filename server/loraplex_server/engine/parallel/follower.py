"""A rank that follows: its part of the model, its caches, and what rank 0 tells it to do with them."""

from __future__ import annotations

from queue import SimpleQueue

import torch

from loraplex_adapters.pinned_memory import PinnedMemory
from loraplex_kernels.group import Group
from loraplex_server.engine.device import rank_cores, rank_device, set_threads
from loraplex_server.engine.loaders import loader_threads
from loraplex_server.engine.make_runner import add_replays, make_runner
from loraplex_server.engine.memory import spare_bytes
from loraplex_server.engine.parallel.channel import Receiver, Sender
from loraplex_server.engine.parallel.distributed import TorchGroup
from loraplex_server.engine.parallel.library import FollowerAdapters
from loraplex_server.engine.parallel.messages import (
    Caches,
    Command,
    Drop,
    FollowerLaunch,
    Forward,
    Here,
    Lift,
    Loaded,
    Logits,
    Measure,
    Measured,
    Read,
    Ready,
    Seat,
    ToFollower,
    Unseat,
)
from loraplex_server.engine.parallel.steps import spans_of, stretches_of
from loraplex_server.engine.runner import ModelRunner
from loraplex_server.engine.served import Served, load_served


class Follower:
    """One rank but the first.

    Args:
        launch: who it is.
        talk: to rank 0.
    """

    def __init__(self, launch: FollowerLaunch, talk: Sender) -> None:
        self._launch = launch
        self._talk = talk
        self._told: SimpleQueue[Measure | Caches] = SimpleQueue()  # at the start, in order

    def start(self) -> None:
        """Load and allocate, in step with rank 0.

        Raises:
            EngineStartError, ModelError, ValueError: see `build_engine`.
        """
        config, rank = self._launch.config, self._launch.rank
        set_threads(config)
        device = rank_device(config, rank)
        self._talk.send(Here())
        self._group: Group = TorchGroup(self._launch.store, rank, config.tensor_parallel_size, device)
        served = load_served(config, device, self._group)
        self._talk.send(Loaded())
        self._told.get()
        self._talk.send(Measured(spare_bytes(config, device, served.needs())))
        caches = self._told.get()
        if not isinstance(caches, Caches):
            raise TypeError(f"rank 0 said {caches} in place of the caches' sizes")
        served.model.serve_up_to(caches.max_model_len)
        self._runner = make_runner(served, caches.num_blocks)
        self._adapters = self._library(served, self._runner, caches.host_bytes)
        add_replays(self._runner, served, caches.max_model_len)
        self._talk.send(Ready())

    def listen(self, channel: int) -> None:
        """Take what rank 0 says beside the steps, until it is gone. Args: channel: file descriptor."""
        heard = Receiver[ToFollower](channel, ToFollower)
        while (message := heard.receive()) is not None:
            if isinstance(message, Read):
                self._adapters.read(message.number, message.source)
            elif isinstance(message, Drop):
                self._adapters.drop(message.number)
            else:
                self._told.put(message)

    @torch.inference_mode()
    def run(self, commands: Receiver[Command]) -> None:
        """Do what rank 0 does, until it is gone. An exception ends this process, and so that."""
        while (command := commands.receive()) is not None:
            if isinstance(command, Forward):
                self._forward(command)
            elif isinstance(command, Logits):
                self._logits(command)
            elif isinstance(command, Seat):
                self._adapters.seat(command.slot, command.number)
            elif isinstance(command, Unseat):
                self._adapters.unseat(command.slot, command.number)
            elif isinstance(command, Lift):
                self._adapters.lift(command.number)
            else:
                self._adapters.forget(command.number)

    def close(self) -> None:
        """Stop reading adapters, and leave the group."""
        self._adapters.close()
        self._group.close()

    def _library(self, served: Served, runner: ModelRunner, host_bytes: int) -> FollowerAdapters:
        shard = served.model.shard
        if shard is None:
            raise ValueError("a rank that follows has a part of the model")
        threads = loader_threads(served.device, rank_cores(served.config))
        allocate = None
        if served.device.type != "cpu" and host_bytes:  # on a CPU nothing is copied
            claim = 0 if served.config.adapter_host_memory is None else host_bytes
            allocate = PinnedMemory(host_bytes, claim=claim).buffer
        return FollowerAdapters(served.model.base, runner.table, shard, threads, self._talk.send, allocate)

    def _forward(self, command: Forward) -> None:
        tokens = self._received(self._empty(sum(command.counts), dtype=torch.int64))
        self._runner.forward(tokens, spans_of(command), stretches_of(command, self._adapters.terms))

    def _logits(self, command: Logits) -> None:
        width, dtype = self._runner.model.config.hidden_size, self._runner.table.dtype
        self._runner.logits(self._received(self._empty(command.rows, width, dtype=dtype)), ())

    def _empty(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device=self._runner.device)

    def _received(self, x: torch.Tensor) -> torch.Tensor:
        """Filled with rank 0's."""
        self._group.broadcast(x)
        return x

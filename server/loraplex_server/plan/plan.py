"""A plan: who takes how much of the memory, and whether it is enough."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from loraplex_server.plan.adapter import PlannedAdapter
from loraplex_server.plan.asked import Asked, Machine
from loraplex_server.plan.cache import PlannedCache
from loraplex_server.plan.model import PlannedModel
from loraplex_server.plan.processes import bookkeeping
from loraplex_server.plan.steps import StepBytes
from loraplex_server.plan.weights import Part


@dataclass(frozen=True)
class Plan:
    """Of one server; where a model is divided, all sizes are those of one GPU.

    Args:
        machine: that it is for.
        asked: the settings.
        model: the base, or one rank's part of it.
        weights: its parts.
        overhead: bytes of the processes themselves; on a GPU, of CUDA's context.
        steps: of the largest step.
        cache: of keys and values.
        adapter: one of many that are alike.
        adapters: how many there are.
        adapter_room: bytes for them where they are used.
        host_room: bytes for those that left a GPU.
    """

    machine: Machine
    asked: Asked
    model: PlannedModel
    weights: tuple[Part, ...]
    overhead: int
    steps: StepBytes
    cache: PlannedCache
    adapter: PlannedAdapter
    adapters: int
    adapter_room: int
    host_room: int

    @cached_property
    def weights_nbytes(self) -> int:
        """Of all parts."""
        return sum(part.nbytes for part in self.weights)

    @property
    def fixed(self) -> int:
        """What is taken before cache and adapters."""
        return self.weights_nbytes + self.overhead + self.steps.total

    @property
    def resident(self) -> int:
        """Adapters that fit where they are used, at once."""
        return min(self.adapters, self.adapter_room // self.adapter.pages)

    @property
    def on_host(self) -> int:
        """Adapters that fit in the host tier beside those."""
        return min(self.adapters - self.resident, self.host_room // self.adapter.pages)

    @property
    def adapters_nbytes(self) -> int:
        """What adapters take where they are used, all of those that fit asked for."""
        if self.asked.adapter_memory is not None and self.machine.device == "cpu":
            return self.adapter_room  # taken at the start, used or not
        return self.resident * self.adapter.pages

    @property
    def bookkeeping(self) -> int:
        """What the engine's process knows of the adapters in its memory."""
        return bookkeeping(self.resident + self.on_host, self.adapter.linears)

    @property
    def beside_weights(self) -> int:
        """What adapters take of a CPU's memory beside those in use: what is known of them, and the host tier."""
        return self.bookkeeping + self.on_host * self.adapter.pages if self.machine.device == "cpu" else 0

    @property
    def total(self) -> int:
        """The most that is resident: on a CPU of both processes, else of the GPU."""
        return self.fixed + self.cache.nbytes + self.adapters_nbytes + self.beside_weights

    @property
    def loading(self) -> int:
        """About the most that is resident while a CPU server loads: the table of the vocabulary is in memory twice, its
        copy at a byte a weight. Pages of mapped files are left out: the system takes them back when it needs them.
        """
        table = self.model.config.vocab_size * self.model.config.hidden_size
        return self.overhead + self.weights_nbytes + table

    @property
    def least(self) -> int:
        """What it takes to start, with neither cache nor adapters."""
        return max(self.fixed, self.loading) if self.machine.device == "cpu" else self.fixed

    @property
    def unassigned(self) -> int:
        """Memory that nobody was given; below 0: there is too little."""
        return self.machine.memory - self.total

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that is served."""
        return min(self.model.config.max_model_len, self.cache.tokens)

"""The time that a step cannot go below.

A step reads bytes and does arithmetic. At best both go on at once all the time, so

    T >= max( bytes / BW ,  sum of operations / F )

and if its stages (the layers' linears, lm_head, adapters, attention) run one after the other, as they do unless
kernels are fused across them,

    T >= sum over the stages of max( bytes / BW , operations / F )

    decode    bytes   W + U x A + B x ctx x K          operations   2 B P + 2 B H + 2 B A + 4 B ctx D
    prefill   bytes   W + U x A + n x S x K            operations   2 n S P + 2 n H + 2 n S A + 2 n S^2 D

W bytes of the linears' and lm_head's weights, P and H their numbers; U distinct adapters of A weights each; B
requests of ctx tokens; n prompts of S tokens; K KV bytes a token; D layers x heads x head_dim; F the rate of the type
that is multiplied. Activations, norms, sampling and the embedding are left out: it is a bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loraplex_server.bench.limits.formats import Format
from loraplex_server.bench.limits.model import ModelShape
from loraplex_server.bench.limits.rates import Rates


@dataclass(frozen=True)
class Stage:
    """A part of a step: what it reads, what it computes, and the time for either alone."""

    name: str
    nbytes: float
    operations: float
    read_ms: float
    compute_ms: float

    @property
    def ms(self) -> float:
        """The slower of the two."""
        return max(self.read_ms, self.compute_ms)


@dataclass(frozen=True)
class Bound:
    """The stages of one step."""

    stages: tuple[Stage, ...]

    @property
    def ms(self) -> float:
        """Reading and computing perfectly overlapped over the whole step: no implementation is faster."""
        return max(sum(stage.read_ms for stage in self.stages), sum(stage.compute_ms for stage in self.stages))

    @property
    def staged_ms(self) -> float:
        """Overlapped within each stage only: what separate, perfect kernels take."""
        return sum(stage.ms for stage in self.stages)

    def reached(self, measured_ms: float) -> float:
        """The fraction of the bound that a measured step reaches; 1 is perfect."""
        return self.ms / measured_ms


def overlapped(bound: Bound) -> float:
    """`Bound.ms`."""
    return bound.ms


def staged(bound: Bound) -> float:
    """`Bound.staged_ms`."""
    return bound.staged_ms


@dataclass(frozen=True)
class Extras:
    """What is read beside the base's weights, where it is not what a model's shape and the activations' type make it.

    Attributes:
        adapter_weights: of one adapter.
        adapter_bytes: that they take.
        kv_value_bytes: of one value of the KV cache.
    """

    adapter_weights: int
    adapter_bytes: float
    kv_value_bytes: float


@dataclass(frozen=True)
class Served:
    """A model as it is served: its shape, the machine, the format and the adapters' rank.

    Attributes:
        head: the lm_head's format where it is not `form`.
        extras: of adapters and cache where they are known better.
    """

    model: ModelShape
    rates: Rates
    form: Format
    rank: int = 16
    head: Format | None = None
    extras: Extras | None = None

    @property
    def beside(self) -> Extras:
        """Of adapters and cache."""
        if self.extras is not None:
            return self.extras
        weights, size = self.model.adapter_weights(self.rank), self.form.activation_bytes
        return Extras(weights, weights * size, size)

    def decode(self, batch: int, context: float, distinct: int) -> Bound:
        """One token for each of `batch` requests of `context` tokens, `distinct` adapters among them (0: base only)."""
        kv = batch * context * self.model.kv_values * self.beside.kv_value_bytes
        attention = 4 * batch * context * self.model.attention_width
        return self._step(batch, batch, distinct, kv, attention)

    def prefill(self, prompts: int, tokens: int, distinct: int) -> Bound:
        """`prompts` prompts of `tokens` each, in one go; logits of their last tokens only."""
        kv = prompts * tokens * self.model.kv_values * self.beside.kv_value_bytes
        attention = 2 * prompts * tokens**2 * self.model.attention_width
        return self._step(prompts * tokens, prompts, distinct, kv, attention)

    def wave_s(
        self, batch: int, prompt: int, output: int, distinct: int, time: Callable[[Bound], float] = overlapped
    ) -> float:
        """Seconds for a wave of `batch` requests of `prompt` tokens: prefill, which gives the first token, and
        `output - 1` decode steps over a growing context.

        Args:
            batch: requests at once.
            prompt: tokens of each.
            output: tokens of each answer.
            distinct: adapters among them.
            time: `overlapped` or `staged`: which of the bounds to add up.
        """
        steps = (self.decode(batch, prompt + done, distinct) for done in range(1, output))
        return (time(self.prefill(batch, prompt, distinct)) + sum(time(step) for step in steps)) / 1e3

    def _step(self, rows: int, logits: int, distinct: int, kv: float, attention: float) -> Bound:
        model, form, head = self.model, self.form, self.head or self.form
        plain = form.activations
        beside = self.beside
        adapter = beside.adapter_weights if distinct else 0
        p, h = model.linear_weights, model.head_weights
        return Bound(
            (
                self._stage("linears", p * form.weight_bytes, 2 * rows * p, form.multiplied_as),
                self._stage("lm_head", h * head.weight_bytes, 2 * logits * h, head.multiplied_as),
                self._stage("adapters", distinct * beside.adapter_bytes, 2 * rows * adapter, plain),
                self._stage("attention", kv, attention, plain),
            )
        )

    def _stage(self, name: str, nbytes: float, operations: float, multiplied_as: str) -> Stage:
        read_ms = nbytes / self.rates.read_gb_s / 1e6
        return Stage(name, nbytes, operations, read_ms, operations / self.rates.tflops[multiplied_as] / 1e9)

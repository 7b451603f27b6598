"""What a base model's weights take, part by part."""

from __future__ import annotations

from dataclasses import dataclass

from loraplex_kernels.weight_bytes import ROUNDED, Shape, floats
from loraplex_server.models.blueprint import LinearPlan
from loraplex_server.models.names import HEAD
from loraplex_server.plan.asked import Asked
from loraplex_server.plan.error import PlanError
from loraplex_server.plan.model import PlannedModel, itemsize


@dataclass(frozen=True)
class Part:
    """Of the weights.

    Args:
        name: for people.
        form: that it is served in.
        weights: how many numbers; 0 where that tells nothing.
        nbytes: that they take.
    """

    name: str
    form: str
    weights: int
    nbytes: int


def weight_parts(model: PlannedModel, asked: Asked, device: str) -> tuple[Part, ...]:
    """The linears of the layers, the tables of the vocabulary, and what is small beside them.

    Args:
        model: or one rank's part of it.
        asked: the settings.
        device: cpu or cuda.

    Raises:
        PlanError: the device or the checkpoint does not take the form that was asked for.
    """
    dtype = model.dtype(asked.dtype, device)
    form = _form(model, asked, device)
    linears = model.blueprint.linears[:-1]
    size = itemsize(dtype)
    small = sum(width for layer in model.blueprint.layers for width in layer.norms.values()) + model.config.hidden_size
    small += sum(sum(linear.group.widths) for linear in linears if linear.bias)
    ropes = sum(model.config.max_model_len * rope.rotary_dim * 4 for rope in model.config.ropes)
    return (
        Part(
            "linears", form or dtype, _count(linears), sum(_linear(model, each, form, device, size) for each in linears)
        ),
        *_tables(model, asked, form, device, dtype),
        Part("norms and biases", dtype, small, small * size),
        Part("rotary tables", "float32", 0, ropes),
    )


def _form(model: PlannedModel, asked: Asked, device: str) -> str | None:
    """That the linears are rounded to, or come in; None: floating point."""
    wanted = asked.quantization
    if model.quantizer is not None:
        if wanted != "auto":
            raise PlanError(
                f"--quantization {wanted}: {model.name} is quantized already, by {model.quantizer}; leave it out"
            )
        return model.quantizer
    if wanted in ("auto", "none"):
        return None
    if wanted not in ROUNDED[device]:
        raise PlanError(
            f"--quantization {wanted} runs on a CPU only; int8-weight has the same weights, fp8 rounds both"
        )
    return wanted


def _count(linears: tuple[LinearPlan, ...]) -> int:
    return sum(each.in_features * sum(each.group.widths) for each in linears)


def _linear(model: PlannedModel, linear: LinearPlan, form: str | None, device: str, size: int) -> int:
    stacked = Shape(sum(linear.group.widths), linear.in_features)
    if model.stored is not None:  # as the files have it, which is what kernels repack without adding much
        return sum(model.stored.get(name) or Shape(*shape).weights * size for name, shape in linear.shapes())
    return floats(stacked, size) if form is None else ROUNDED[device][form](stacked)


def _tables(model: PlannedModel, asked: Asked, form: str | None, device: str, dtype: str) -> tuple[Part, ...]:
    """Embedding and `lm_head`: one table where they are tied."""
    shape = Shape(model.table_rows or model.config.vocab_size, model.config.hidden_size)
    size = itemsize(dtype)
    rounded = asked.head_quantization == "int8"
    if asked.head_quantization == "auto":
        rounded = device == "cpu" and form is not None and model.quantizer is None
    if rounded and (device != "cpu" or model.quantizer is not None):
        raise PlanError("--head-quantization int8 runs on a CPU, and for a checkpoint that nobody has quantized")
    head = ROUNDED["cpu"]["int8"](shape) if rounded else floats(shape, size)
    if model.stored is not None and not model.config.tie_embeddings:
        head = model.stored.get(HEAD, head)
    tied = model.config.tie_embeddings
    name = "embedding and lm_head" if tied else HEAD
    parts = (Part(name, "int8" if rounded else dtype, shape.weights, head),)
    return parts if tied else (Part("embedding", dtype, shape.weights, floats(shape, size)), *parts)

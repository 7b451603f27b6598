"""The small ops between the linears, whose inputs lie in the cache, since the op before has just written them."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from gpu.attention_part import BLOCK, HEADS
from gpu.clock import Time
from gpu.part import Part, Row, Setting, check_near, record
from gpu.shapes import SHAPES
from gpu.tables import Column
from loraplex_kernels.attention import allocate
from loraplex_kernels.ops import add_rms_norm, norm_rotary_write, reference, silu_and_mul

NEAR = 0.02  # of the norm of the result
EPS = 1e-5
WAYS = ("add, norm", "torch add, norm", "rotary, write", "gate", "torch gate")


def measure(setting: Setting, rows: int) -> Row:
    """Each op at one number of rows; torch's are the formulas, op by op."""
    shapes = {shape.name: shape for shape in SHAPES[setting.shape]}
    hidden, inner = shapes["qkv"].in_features, shapes["down"].in_features
    random = torch.Generator(setting.device).manual_seed(6)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, device=setting.device).to(setting.dtype)

    norm = (drawn(rows, hidden), drawn(rows, hidden), drawn(hidden), EPS)
    gate = drawn(rows, 2 * inner)
    ways = {
        "add, norm": partial(_norm, setting, norm),
        "torch add, norm": partial(setting.clock.time, partial(reference.add_rms_norm, *norm)),
        "rotary, write": partial(_rotary, setting, rows),
        "gate": partial(_gate, setting, gate),
        "torch gate": partial(setting.clock.time, partial(reference.silu_and_mul, gate)),
    }
    outcomes = setting.timed(ways)
    return Row((rows, *(outcomes[way] for way in WAYS)), {"rows": rows, **record(outcomes)})


def _norm(setting: Setting, inputs: tuple[Tensor, Tensor, Tensor, float]) -> Time:
    check_near(add_rms_norm(*inputs)[0], reference.add_rms_norm(*inputs)[0], NEAR, "the norm")
    return setting.clock.time(partial(add_rms_norm, *inputs))


def _gate(setting: Setting, x: Tensor) -> Time:
    check_near(silu_and_mul(x), reference.silu_and_mul(x.float()), NEAR, "the gate")
    return setting.clock.time(partial(silu_and_mul, x))


def _rotary(setting: Setting, rows: int) -> Time:
    """Views of the packed q, k and v, as in the model; one row a block of the cache."""
    heads, device = HEADS[setting.shape], setting.device
    widths = [heads.queries * heads.dim, heads.kv * heads.dim, heads.kv * heads.dim]
    packed = torch.randn(rows, sum(widths), device=device).to(setting.dtype)
    cache = allocate(1, rows, heads.kv, BLOCK, heads.dim, setting.dtype, device)[0]
    angles = torch.rand(rows, heads.dim // 2, device=device)
    cos, sin, slots = angles.cos(), angles.sin(), torch.arange(rows, device=device) * BLOCK

    def heads_of(tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = torch.split(tensor, widths, dim=1)
        return q.view(rows, -1, heads.dim), k.view(rows, -1, heads.dim), v.view(rows, -1, heads.dim)

    q, k, v = heads_of(packed.double())
    reference.rotary(q, k, cos, sin)
    check_near(norm_rotary_write(*heads_of(packed.clone()), cos, sin, cache, slots), q, NEAR, "rotary's queries")
    check_near(cache.k[:, :, 0], k, NEAR, "rotary's keys")
    check_near(cache.v[:, :, 0], v, NEAR, "the values")
    return setting.clock.time(partial(norm_rotary_write, *heads_of(packed), cos, sin, cache, slots))


SMALL = Part(
    "Small ops, us",
    lambda setting: (Column("rows"), *(Column(way, 8) for way in WAYS)),
    lambda setting: setting.rows,
    lambda rows: (rows,),
    measure,
)

"""Where the weights of one adapter lie inside its flat buffer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# A cache line, and what the widest vector loads want.
ALIGNMENT = 64


@dataclass(frozen=True)
class SiteShape:
    """One linear of the base model that an adapter touches, and how.

    Args:
        site: index of the linear in the model, the column of the table.
        in_features: K, the width of its input.
        out_features: N, the width of its output.
        rank: r of this site; ranks may differ from site to site.
        scale: what B(Ax) is multiplied by (alpha/r, or alpha/sqrt(r) for rsLoRA).
        magnitude: whether DoRA's per-output scale is there.
    """

    site: int
    in_features: int
    out_features: int
    rank: int
    scale: float
    magnitude: bool = False


@dataclass(frozen=True)
class Placement:
    """Byte offsets of one site's arrays: A `[rank, in]`, B transposed `[rank, out]`, magnitude float32 `[out]`.

    Where A and B are int8, factor float32 `[rank]` is there as well: the product of what the r-th rows of A and of B
    were divided by. Only this product counts, since every number that they make is multiplied by both.
    """

    shape: SiteShape
    a: int
    b: int
    magnitude: int | None
    factor: int | None = None


@dataclass(frozen=True)
class AdapterLayout:
    """An adapter's flat buffer of its true size: no padding to a largest rank, no slot of fixed size.

    Args:
        placements: of the sites; none for an adapter that has no low-rank update.
        nbytes: of everything.
        others: byte offsets of the arrays behind the sites', which the kernels do not read.
    """

    placements: tuple[Placement, ...]
    nbytes: int
    others: tuple[int, ...] = ()


def plan(
    shapes: Iterable[SiteShape], itemsize: int, others: Iterable[int] = (), *, int8: bool = False
) -> AdapterLayout:
    """Lay the sites' arrays end to end, each aligned to 64 bytes.

    Both A and B lie as `rank` contiguous rows: A's are read as dot products with x, B's are added, scaled, into y.
    So neither a CPU's vectors nor a GPU's coalesced loads ever stride.

    Args:
        shapes: of the sites.
        itemsize: of A's and B's dtype, in bytes, unless they are int8.
        others: bytes of further arrays, which lie behind those of the sites.
        int8: whether they are.
    """
    itemsize = 1 if int8 else itemsize
    cursor = 0

    def take(nbytes: int) -> int:
        nonlocal cursor
        offset = cursor
        cursor += -(-nbytes // ALIGNMENT) * ALIGNMENT
        return offset

    placements = []
    for shape in shapes:
        a = take(shape.rank * shape.in_features * itemsize)
        b = take(shape.rank * shape.out_features * itemsize)
        magnitude = take(shape.out_features * 4) if shape.magnitude else None
        placements.append(Placement(shape, a, b, magnitude, take(shape.rank * 4) if int8 else None))
    offsets = tuple(take(nbytes) for nbytes in others)
    return AdapterLayout(tuple(placements), cursor, offsets)

"""What the inline assembly computes, for every element that there is: no GPU is needed to know."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.ptx import halves, run

from loraplex_kernels.linear.assembly import PORTABLE, assembly_of

HALF = [torch.float16, torch.bfloat16]
ELEMENTS = np.arange(1 << 16, dtype=np.uint32)
# Two elements a register: every one of them once below and once above.
PACKED = ELEMENTS | np.flip(ELEMENTS) * np.uint32(7) % np.uint32(1 << 16) << np.uint32(16)
TABLE = [-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0]
TABLE += [0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.723, 1.0]


def planes_of(bits):
    """int64 `[planes, L, 2]`: the codes of PACKED."""
    pairs = np.stack([PACKED & 0xFFFF, PACKED >> 16], axis=1).astype(np.int64)
    return torch.from_numpy(np.stack([pairs >> bits * plane & 2**bits - 1 for plane in range(16 // bits)]))


def unpacked(assembly, bits, dtype, zeros=()):
    """`[planes, L, 2]`, what the assembly makes of PACKED."""
    registers = run(assembly.text, [PACKED, *zeros], 16 // bits)
    return torch.stack([halves(register, dtype) for register in registers])


def twice(value, dtype):
    """A register of one value twice, in every lane."""
    pair = torch.tensor([value, value], dtype=dtype).view(torch.int16).numpy().view(np.uint32)
    return np.broadcast_to(pair, PACKED.shape)


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("bits", [4, 8])
def test_integers_lose_their_zero_point_and_nothing_else(bits, dtype):
    assembly = assembly_of("ints", bits, dtype, None)
    highest = 127 if bits == 4 else 255
    zero = [0, 7, highest, 2 ** (bits - 1)][: 16 // bits]  # of each plane
    result = unpacked(assembly, bits, dtype, [twice(-assembly.magic - z, dtype) for z in zero])
    for plane, z in zip(planes_of(bits), zero, strict=True):
        assert torch.equal(result[zero.index(z)].long(), plane - z)
    assert torch.equal(result.long().to(dtype), result)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_a_table_is_looked_up(dtype):
    result = unpacked(assembly_of("lookup", 4, dtype, TABLE), 4, dtype)
    assert torch.equal(result, torch.tensor(TABLE).to(dtype)[planes_of(4)])


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_eight_bit_floats_keep_their_value_and_sign(dtype):
    result = unpacked(assembly_of("float8", 8, dtype, None), 8, dtype)
    codes = planes_of(8)
    expected = codes.to(torch.uint8).view(torch.float8_e4m3fn).to(dtype)
    numbers = (codes & 0x7F) != 0x7F  # weights that are none are refused before
    assert torch.equal(result[numbers].view(torch.int16), expected[numbers].view(torch.int16))


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize(("kind", "bits"), [("ints", 4), ("ints", 8), ("lookup", 4), ("float8", 8)])
def test_no_output_may_be_given_the_register_of_an_input_that_is_read_after_it_is_written(kind, bits, dtype):
    planes = 16 // bits
    constraints = assembly_of(kind, bits, dtype, TABLE).constraints.split(",")
    assert constraints[:planes] == ["=&r"] * planes
    assert constraints[planes:] == ["r"] * (1 + planes * (kind == "ints"))


def test_other_dtypes_are_unpacked_in_plain_arithmetic():
    assert assembly_of("ints", 4, torch.float32, None) is PORTABLE


def test_a_kind_that_there_is_none_of_is_refused():
    with pytest.raises(ValueError, match="'ternary'"):
        assembly_of("ternary", 4, torch.bfloat16, None)
    with pytest.raises(ValueError, match="'lookup'"):
        assembly_of("lookup", 4, torch.bfloat16, None)

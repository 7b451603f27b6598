"""The compiled sampling kernel, in each build that this processor runs, against the sorted definition."""

from __future__ import annotations

import pytest
import torch
from support.sampling_filters import FILTERS

from loraplex_kernels import native
from loraplex_kernels.ops.sampling import Columns
from loraplex_kernels.ops.sampling.naive import draw_naive
from loraplex_kernels.ops.sampling.native import draw_native

INF = float("inf")


@pytest.fixture(params=native.variants() or [pytest.param("", marks=pytest.mark.skip(reason="no CPU kernels here"))])
def kernels(request):
    try:
        return native.load(request.param)
    except OSError as error:
        pytest.skip(f"{request.param} was not built: {error}")


def columns(rows, *, temperature=1.0, uniform=0.5, top_k=0, top_p=1.0, min_p=0.0, vocab=1):
    """The same settings for each row; a tensor has its own for each."""

    def of(value, dtype):
        return value.to(dtype) if isinstance(value, torch.Tensor) else torch.full((rows,), value, dtype=dtype)

    floats, doubles, integers = torch.float32, torch.float64, torch.int32
    return Columns(
        *(of(temperature, floats), of(uniform, doubles), of(top_k, integers)),
        *(of(top_p, doubles), of(min_p, doubles), of(vocab, integers)),
    )


def agree(kernels, logits, **how):
    given = columns(len(logits), **({"vocab": logits.shape[1]} | how))
    found, expected = draw_native(kernels, logits, given), draw_naive(logits, given)
    # A number that falls on a border to the last bit of an exponential may land on either side of it.
    return bool((found == expected).double().mean() > 0.98)


@pytest.mark.parametrize("how", FILTERS, ids=str)
@pytest.mark.parametrize("spread", [0.001, 0.05, 3.0, 8.0])
@pytest.mark.parametrize("ties", [False, True])
def test_the_token_is_the_one_of_the_sorted_definition(kernels, how, spread, ties):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(50, 2600, generator=generator) * spread  # more than any buffer of the kernel holds
    logits[:, 5] = -INF
    if ties:
        logits = (logits * 2 / spread).round() * spread / 2
    uniform = torch.rand(50, dtype=torch.float64, generator=generator)
    assert agree(kernels, logits, temperature=0.8, uniform=uniform, **how)


@pytest.mark.parametrize("min_p", [0.001, 0.3, 0.999, 1.0])
@pytest.mark.parametrize("temperature", [0.001, 0.01])
def test_min_p_keeps_what_lies_a_rounding_below_the_likeliest(kernels, temperature, min_p):
    """Just above a power of two, where numbers below lie closer together than those above."""
    generator = torch.Generator().manual_seed(3)
    steps = torch.randint(-16, 3, (200, 64), generator=generator)
    logits = 8192.0 + steps * 2.0**-11
    uniform = torch.rand(200, dtype=torch.float64, generator=generator)
    assert agree(kernels, logits, temperature=temperature, uniform=uniform, min_p=min_p)


@pytest.mark.parametrize("how", [{"top_k": 50}, {"top_p": 0.7}, {"top_k": 1500, "top_p": 0.5}], ids=str)
def test_of_equals_the_lower_ids_are_kept(kernels, how):
    """All tokens weigh the same, zeros of both signs among them, so what is kept is a run from the first on."""
    logits = torch.zeros(40, 2600)
    logits[:, ::3] = -0.0
    uniform = (torch.arange(40, dtype=torch.float64) + 0.5) / 40
    assert agree(kernels, logits, uniform=uniform, **how)


@pytest.mark.parametrize("vocab", [1, 2, 15, 16, 17, 255, 257, 4099])
def test_any_width_of_a_vocabulary_is_read_to_its_end_and_no_further(kernels, vocab):
    logits = torch.full((4, 5000), 50.0)
    logits[:, :vocab] = torch.randn(4, vocab, generator=torch.Generator().manual_seed(vocab))
    logits[0, vocab - 1] = 9.0
    given = columns(4, temperature=torch.tensor([0.0, 0.0, 1.0, 1.0]), uniform=0.999, top_p=0.99, vocab=vocab)
    found = draw_native(kernels, logits, given)
    assert torch.equal(found, draw_naive(logits, given))
    assert found[0] == vocab - 1


def test_the_first_of_several_likeliest_is_taken_greedily(kernels):
    logits = torch.randn(3, 9000, generator=torch.Generator().manual_seed(0))
    logits[:, 8000] = logits[:, 4321] = 11.0
    assert draw_native(kernels, logits, columns(3, temperature=0.0, vocab=9000)).tolist() == [4321] * 3


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("place", [0, 2999, 6000])
@pytest.mark.parametrize("poison", [float("nan"), -float("nan"), INF])
def test_a_row_that_is_not_finite_chooses_nothing_and_spares_its_neighbours(kernels, temperature, place, poison):
    logits = torch.randn(3, 6001, generator=torch.Generator().manual_seed(0))
    given = columns(3, temperature=temperature, vocab=6001, top_p=0.9)
    alone = draw_native(kernels, logits, given)
    logits[1, place] = poison
    assert draw_native(kernels, logits, given).tolist() == [alone[0], -1, alone[2]]


def test_nothing_but_minus_infinity_chooses_nothing(kernels):
    assert draw_native(kernels, torch.full((1, 40), -INF), columns(1, vocab=40)).tolist() == [-1]


def test_a_number_just_below_one_does_not_pass_the_last_possible_token(kernels):
    logits = torch.full((1, 3000), -INF)
    logits[0, :3] = 0.0
    for how in ({}, {"top_p": 0.99}, {"top_k": 2}):
        found = draw_native(kernels, logits, columns(1, uniform=1 - 2**-53, vocab=3000, **how))
        assert int(found) == (1 if "top_k" in how else 2)


@pytest.mark.parametrize("temperature", [1e-5, 1e30])
def test_the_coldest_and_the_hottest_temperatures_choose_as_they_should(kernels, temperature):
    logits = torch.randn(1, 3000, generator=torch.Generator().manual_seed(0)) * 20
    found = int(draw_native(kernels, logits, columns(1, temperature=temperature, top_p=0.999, vocab=3000)))
    assert found == (int(logits.argmax()) if temperature < 1 else found)
    assert 0 <= found < 3000


def test_what_the_kernel_takes_on_trust_is_checked(kernels):
    logits = torch.zeros(2, 10)
    good = columns(2, vocab=10)
    for wrong, given in (
        (logits.double(), good),
        (torch.zeros(10, 2).T, good),
        (logits, columns(3, vocab=10)),
        (logits, columns(2, vocab=11)),
        (logits, columns(2, vocab=0)),
        (logits, good._replace(top_p=good.top_p.float())),
    ):
        with pytest.raises(ValueError, match=r"must be|do not fit"):
            draw_native(kernels, wrong, given)

from __future__ import annotations

import pytest
import torch
from support.tolerances import assert_near

from loraplex_kernels import native
from loraplex_kernels.linear import make_weight
from loraplex_kernels.linear.dense import DenseWeight
from loraplex_kernels.linear.packed import PackedWeight
from loraplex_server.bench.limits.threads import computing_with

CPU = torch.device("cpu")
PATHS = ["torch", *native.variants()]
# out_features, in_features: whole panels, a narrow last one, a lone one, K over several chunks, the least there is
SHAPES = [(128, 96), (150, 64), (7, 10), (70, 2050), (1, 2)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("path", PATHS)
def test_every_build_multiplies(path, shape, dtype, use):
    use(path)
    weight, bias = torch.randn(shape).to(dtype), torch.randn(shape[0]).to(dtype)
    packed = make_weight(weight, "none", dtype, CPU)
    assert isinstance(packed, DenseWeight if path == "torch" else PackedWeight)
    for rows in (1, 3, 7, 40, 200):
        x = torch.randn(rows, shape[1]).to(dtype)
        for given in (None, bias):
            expected = x.double() @ weight.double().t() + (0 if given is None else given.double())
            assert_near(packed(x, given), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("path", PATHS[1:])
def test_a_row_is_bitwise_the_same_beside_any_others(path, dtype, use):
    use(path)
    packed = make_weight(torch.randn(150, 2050).to(dtype), "none", dtype, CPU)
    x = torch.randn(130, 2050).to(dtype)
    whole = packed(x)
    for first, count in ((0, 1), (129, 1), (5, 2), (60, 70), (3, 96)):
        assert torch.equal(packed(x[first : first + count]), whole[first : first + count])


def test_the_number_of_threads_changes_no_bit():
    packed = make_weight(torch.randn(700, 1100), "none", torch.float32, CPU)
    x, results = torch.randn(9, 1100), []
    for threads in (1, 3):
        with computing_with(threads):
            results.append(packed(x))
    assert torch.equal(*results)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("path", PATHS[:2])
def test_the_weight_comes_back_as_it_went_in_and_takes_no_more_memory(path, shape, dtype, use):
    use(path)
    weight = torch.randn(shape).to(dtype)
    packed = make_weight(weight, "none", dtype, CPU)
    assert torch.equal(packed.dequantized(), weight.float())
    assert packed.nbytes == weight.nbytes
    assert (packed.out_features, packed.in_features) == shape
    index = torch.arange(shape[0]).flip(0)[:5]
    assert torch.equal(packed.rows(index), weight[index])


def test_strided_rows_and_other_dtypes_of_the_checkpoint_are_taken():
    weight = torch.randn(33, 24, dtype=torch.float64).t()  # [24, 33], transposed
    packed = make_weight(weight, "none", torch.float32, CPU)
    x = torch.randn(5, 70)[:, 7:40]
    torch.testing.assert_close(packed(x), x @ weight.float().t())
    odd = make_weight(weight, "none", torch.bfloat16, CPU)  # K is odd: no pairs
    assert isinstance(odd, DenseWeight)
    assert odd(x.bfloat16()).shape == (5, 24)


def test_no_rows_give_no_rows():
    assert make_weight(torch.randn(70, 8), "none", torch.float32, CPU)(torch.empty(0, 8)).shape == (0, 70)


def test_what_does_not_fit_is_refused():
    packed = PackedWeight(torch.randn(10, 8))
    for x, bias in [
        (torch.randn(2, 9), None),
        (torch.randn(2, 8).bfloat16(), None),
        (torch.randn(8), None),
        (torch.randn(2, 8), torch.randn(9)),
        (torch.randn(2, 8), torch.randn(10).double()),
    ]:
        with pytest.raises(ValueError, match=r"must be torch\.float32"):
            packed(x, bias)
    with pytest.raises(ValueError, match="float64"):
        PackedWeight(torch.randn(10, 8).double())
    with pytest.raises(ValueError, match="int3"):
        make_weight(torch.randn(10, 8), "int3", torch.float32, CPU)

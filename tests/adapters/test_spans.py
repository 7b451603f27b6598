from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from loraplex_adapters.errors import AdapterError
from loraplex_adapters.fingerprint import TENSOR_FILE
from loraplex_adapters.put import Put, flat, kept, transposed
from loraplex_adapters.spans import MOST, is_span, read_span, spans
from loraplex_adapters.tensor_file import TensorSpec, read_header

SCRATCH = torch.empty(MOST, dtype=torch.uint8)


def write(folder: Path, tensors: dict[str, torch.Tensor]) -> list[TensorSpec]:
    save_file(tensors, folder / TENSOR_FILE)
    return list(read_header("a", str(folder)).tensors.values())


def test_neighbours_are_read_together_and_come_out_as_they_are_alone(tmp_path: Path) -> None:
    tensors = {f"t{i}": torch.randn(6, 4).to(torch.bfloat16) for i in range(5)}
    tensors["t3"][2, 1] = float("nan")
    specs = write(tmp_path, tensors)
    targets = {spec.name: torch.empty(4, 6) for spec in specs}
    puts = {name: transposed(target) for name, target in targets.items()}
    (span,) = spans(specs, puts)
    with (tmp_path / TENSOR_FILE).open("rb", buffering=0) as file:
        raw, finite = read_span(file, span, puts, SCRATCH)
    assert bytes(raw) == (tmp_path / TENSOR_FILE).read_bytes()[specs[0].start :]
    assert {spec.name: ok for spec, ok in zip(span, finite, strict=True)} == {name: name != "t3" for name in tensors}
    for name, target in targets.items():
        assert torch.equal(target.nan_to_num(7), tensors[name].float().t().nan_to_num(7))


def test_what_is_large_or_more_than_converted_is_alone(tmp_path: Path) -> None:
    specs = write(
        tmp_path, {"a": torch.ones(8), "b": torch.ones(8), "c": torch.ones(8), "d": torch.ones(MOST // 4 + 1)}
    )
    by_name = {spec.name: spec for spec in specs}
    puts: dict[str, Put] = {name: flat(torch.empty(spec.shape)) for name, spec in by_name.items()}
    puts["b"] = Put(1, lambda first, piece: True, torch.float32)
    ordered = [by_name[name] for name in "abcd"]
    found = [[spec.name for spec in span] for span in spans(ordered, puts)]
    assert found == [["a"], ["b"], ["c"], ["d"]]
    assert [is_span([spec], puts) for spec in ordered] == [True, False, True, False]


def test_a_tensor_that_would_lie_askew_begins_a_span(tmp_path: Path) -> None:
    specs = write(tmp_path, {"a": torch.ones(3, dtype=torch.bfloat16), "b": torch.ones(4)})
    half, whole = sorted(specs, key=lambda spec: spec.nbytes)
    askew = TensorSpec("b", whole.dtype, whole.shape, half.start + half.nbytes, whole.nbytes)
    puts = {"a": flat(torch.empty(3)), "b": flat(torch.empty(4))}
    assert [len(span) for span in spans([half, askew], puts)] == [1, 1]


def test_integers_that_are_kept_go_their_own_way(tmp_path: Path) -> None:
    (spec,) = write(tmp_path, {"a": torch.arange(4)})
    put, _ = kept(spec.shape, torch.int64)
    assert not is_span([spec], {"a": put})


def test_a_file_that_shrinks_is_an_error(tmp_path: Path) -> None:
    specs = write(tmp_path, {"a": torch.ones(8), "b": torch.ones(8)})
    puts = {spec.name: flat(torch.empty(8)) for spec in specs}
    path = tmp_path / TENSOR_FILE
    path.write_bytes(path.read_bytes()[:-4])
    with path.open("rb", buffering=0) as file, pytest.raises(AdapterError, match="became shorter"):
        read_span(file, specs, puts, SCRATCH)

"""Embeddings through the whole server: sockets, engine process, adapters."""

from __future__ import annotations

import math

import pytest
from support.servers import Server


def vectors(demo: Server, **body: object) -> list[list[float]]:
    answer = demo.post("/v1/embeddings", body)
    assert answer.status_code == 200, answer.text
    return [entry["embedding"] for entry in answer.json()["data"]]


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_each_adapter_has_vectors_of_its_own(demo: Server, pooling: str) -> None:
    texts = ["jasmine", "tulip", "jasmine"]
    found = {model: vectors(demo, model=model, input=texts, pooling=pooling) for model in ("base", "reverse", "upper")}
    for first, second, again in found.values():
        assert math.hypot(*first) == pytest.approx(1.0, abs=1e-5)
        assert first == pytest.approx(again, abs=1e-2)  # of another row of the batch
        assert sum(a * b for a, b in zip(first, second, strict=True)) < 0.9999
    assert len({tuple(one[0]) for one in found.values()}) == 3

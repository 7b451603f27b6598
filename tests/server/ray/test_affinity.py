"""Which replica a request is for is read from its body, whatever API it is of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loraplex_server.ray.affinity import LONGEST_NAME, Affinity


@pytest.mark.parametrize(
    ("body", "adapter"),
    [
        ({"model": "sql", "messages": []}, "sql"),
        ({"model": "llama"}, ""),
        ({"model": "llama", "adapters": [{"name": "a", "weight": 0.2}, {"name": "b", "weight": -0.8}]}, "b"),
        ({"adapters": [{"name": "a"}, {"name": "b", "weight": 0.5}]}, "a"),
        ({"model": "base", "input": "x"}, ""),
        ({"prompt": "x"}, ""),
        ({"inputs": "x", "parameters": {"adapter_id": "sql"}}, "sql"),
        ({"inputs": "x", "parameters": {"adapter_id": None}}, ""),
        ({"inputs": "x", "parameters": {"merged_adapters": {"ids": ["a", "b"], "weights": [0.1, 0.9]}}}, "b"),
        ({"inputs": "x", "parameters": {"merged_adapters": {"ids": ["a"], "weights": []}}}, ""),
        ({"model": 7, "adapters": "a", "parameters": []}, ""),
        ({"adapters": [{"name": ["a"], "weight": "1"}, 3]}, ""),
        ({"model": "x" * (LONGEST_NAME + 1)}, ""),
    ],
)
def test_the_adapter_is_found(body: dict[str, Any], adapter: str) -> None:
    assert Affinity(["llama", "llama-3"]).adapter_of(json.dumps(body).encode()) == adapter


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"model": "\xff"}', b"--form\r\n"])
def test_what_is_no_json_object_names_none(body: bytes) -> None:
    assert Affinity(["llama"]).adapter_of(body) == ""


@pytest.mark.parametrize(
    "body",
    [
        b'{"adapters": [{"name": "a", "weight": ' + b"9" * 400 + b"}]}",
        b'{"parameters": {"merged_adapters": {"ids": ["a"], "weights": [-' + b"9" * 400 + b"]}}}",
        b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=["a weight beyond all numbers", "the same of LoRAX", "nested too deep"],
)
def test_what_only_a_replica_can_refuse_names_none(body: bytes) -> None:
    assert Affinity(["llama"]).adapter_of(body) == ""

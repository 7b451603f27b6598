"""The format is the checkpoint's where the device has it."""

from __future__ import annotations

from typing import Any

import pytest

from loraplex_server.engine.config import DType
from loraplex_server.engine.dtype import Format, checkpoint_dtype, choose_dtype


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"dtype": "bfloat16"}, "bfloat16"),
        ({"torch_dtype": "float16"}, "float16"),
        ({"dtype": "bfloat16", "torch_dtype": "float16"}, "bfloat16"),
        ({"dtype": "float64"}, "float32"),
        ({"dtype": None}, "float32"),
        ({"dtype": None, "torch_dtype": "float16"}, "float16"),
        ({}, "float32"),
    ],
)
def test_a_checkpoint_is_what_its_config_says(config: dict[str, Any], said: Format) -> None:
    assert checkpoint_dtype(config) == said


@pytest.mark.parametrize(
    ("asked", "checkpoint", "device", "native", "chosen"),
    [
        ("auto", "float32", "cuda", True, "bfloat16"),
        ("auto", "float16", "cuda", False, "float16"),  # whatever the CPU beside the GPU has
        ("auto", "bfloat16", "cuda", False, "bfloat16"),
        ("auto", "bfloat16", "cpu", True, "bfloat16"),
        ("auto", "float16", "cpu", True, "bfloat16"),
        ("auto", "bfloat16", "cpu", False, "float32"),
        ("auto", "float32", "cpu", True, "float32"),
        ("float16", "float32", "cpu", False, "float16"),
    ],
)
def test_a_device_computes_in_the_nearest_format_that_it_has(
    asked: DType, checkpoint: Format, device: str, native: bool, chosen: Format
) -> None:
    assert choose_dtype(asked, checkpoint, device, native=native) == chosen

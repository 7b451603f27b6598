"""Real adapters: small random models by transformers, LoRA on them by PEFT, files as PEFT writes them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.peft_files import CONFIGS, Base, Write, Written, make_base, write_adapter


@pytest.fixture(autouse=True)
def _peft_warns() -> Iterator[None]:
    """Of its own use of transformers, and of saving the embeddings."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        warnings.filterwarnings("ignore", message="Setting `save_embedding_layers`", category=UserWarning)
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings", category=UserWarning)
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to True", category=UserWarning)
        warnings.filterwarnings("ignore", message="The following rank_pattern keys did not", category=RuntimeWarning)
        warnings.filterwarnings("ignore", message="PiSSA changes the base weights", category=UserWarning)
        warnings.filterwarnings("ignore", message="`lora_bias=True` was passed", category=UserWarning)
        warnings.filterwarnings("ignore", message=r"Adapter 'default': \d+ LoRA tensor", category=UserWarning)
        yield


@pytest.fixture(scope="session")
def make_model() -> Callable[[str], Base]:
    """A fresh model, which PEFT may change in place."""
    return make_base


@pytest.fixture(scope="session")
def bases() -> dict[str, Base]:
    """One model of each family, never changed."""
    return {family: make_base(family) for family in CONFIGS}


@pytest.fixture(scope="session")
def llama(bases: dict[str, Base]) -> Base:
    return bases["llama"]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(name, family=..., seed=..., **LoraConfig's own)` saves an adapter in the test's folder."""

    def write(name: str = "adapter", **options: Any) -> Written:
        return write_adapter(tmp_path, name, **options)

    return write

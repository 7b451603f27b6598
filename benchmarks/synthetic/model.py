"""A whole model folder."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import GenerationConfig

from synthetic.blueprint import Blueprint, shape_config
from synthetic.shapes import SHAPES
from synthetic.tokenizer import make_tokenizer
from synthetic.weights import write_weights


class ModelFolderError(Exception):
    """The folder already holds something else."""


def make_model(shape: str, folder: Path, seed: int) -> int:
    """Write a checkpoint that transformers, and whatever reads its files, can load.

    Args:
        shape: a key of `SHAPES`.
        folder: made where it is missing.
        seed: of the weights.

    Returns:
        The weights' bytes.

    Raises:
        KeyError: no such shape.
    """
    config = shape_config(shape)
    folder.mkdir(parents=True, exist_ok=True)
    total = write_weights(folder, Blueprint(config).tensors, seed)
    tokenizer = make_tokenizer(config.vocab_size)
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(folder)
    config.bos_token_id = None
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    ).save_pretrained(folder)
    # Last: a folder with a config.json is a whole one.
    config.save_pretrained(folder)
    return total


def is_made(shape: str, folder: Path) -> bool:
    """Whether the folder holds a model of this shape already; False where it holds none.

    Raises:
        ModelFolderError: it holds a model of another shape.
    """
    path = folder / "config.json"
    if not path.exists():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))
    other = {key: found.get(key) for key, value in SHAPES[shape].items() if found.get(key) != value}
    if other:
        raise ModelFolderError(f"{folder} holds another model than {shape}: {other}")
    return True

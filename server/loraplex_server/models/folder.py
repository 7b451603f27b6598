"""Where a model's files are: a folder, or a hub id that becomes one."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from loraplex_server.models.errors import CheckpointError

_SETTINGS = ["*.json", "*.jinja", "tokenizer*", "*.model", "*.txt"]
_WEIGHTS = [*_SETTINGS, "*.safetensors"]
# Other layouts of the same weights, which some repositories carry beside transformers' own.
_DUPLICATES = ["original/*", "consolidated*"]


def model_folder(path_or_id: str, *, weights: bool = True) -> Path:
    """The folder of a checkpoint.

    Args:
        path_or_id: a folder, or a Hugging Face hub id such as `Qwen/Qwen2.5-0.5B`, which is downloaded to the hub's
            cache (or found there): safetensors, JSON and tokenizer files alone, never pickled weights or code.
        weights: False leaves the weights where they are, for a look at the config first.

    Raises:
        CheckpointError: there is no such folder and no such model on the hub.
    """
    path = Path(path_or_id).expanduser()
    if path.is_dir():
        return path
    try:
        return Path(
            huggingface_hub.snapshot_download(
                path_or_id, allow_patterns=_WEIGHTS if weights else _SETTINGS, ignore_patterns=_DUPLICATES
            )
        )
    except HFValidationError as error:
        raise CheckpointError(f"{path_or_id!r} is neither a folder nor a hub id") from error
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise CheckpointError(f"{path_or_id!r} is no folder, and the hub does not give it: {error}") from error

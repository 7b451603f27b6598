"""What can be wrong with a base model; each message is written for the person who starts the server."""

from __future__ import annotations


class ModelError(Exception):
    """The model cannot be served."""


class UnsupportedModelError(ModelError):
    """The config asks for something that the decoder does not do. Raised before any weight is read."""


class CheckpointError(ModelError):
    """The files are missing, incomplete, of a refused format, or do not fit the config."""

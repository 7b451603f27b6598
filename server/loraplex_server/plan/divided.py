"""One GPU's part of a model that is divided among several."""

from __future__ import annotations

from dataclasses import replace

from loraplex_server.models.division import Division
from loraplex_server.models.errors import UnsupportedModelError
from loraplex_server.plan.error import PlanError
from loraplex_server.plan.model import PlannedModel


def divided(model: PlannedModel, ranks: int) -> PlannedModel:
    """As the engine divides it, rank 0's part; of the tables, which differ by a row, the largest.

    Raises:
        PlanError: the model cannot be divided among so many.
    """
    if ranks == 1:
        return model
    try:
        part = Division(model.config, 0, ranks).config
    except UnsupportedModelError as error:
        raise PlanError(str(error)) from error
    stored = None if model.stored is None else {name: size // ranks for name, size in model.stored.items()}
    return replace(model, config=part, stored=stored, table_rows=-(-model.config.vocab_size // ranks))

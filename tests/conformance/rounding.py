"""The oracle's base where the engine serves int8: its weights, and its way of rounding what they are multiplied by."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from loraplex_kernels.linear.rounding import round_rows
from loraplex_server.models.decoder import Decoder


class RoundedLinear(nn.Linear):
    """A linear whose inputs are rounded to int8, row by row; its weight is a rounded one already."""

    def forward(self, input: Tensor) -> Tensor:
        rows = input.reshape(-1, self.in_features)
        rounded, scale = round_rows(rows)
        return F.linear((rounded * scale[:, None]).view_as(input), self.weight, self.bias)


@torch.no_grad()
def round_as_served(model: PreTrainedModel, served: Decoder) -> None:
    """Make every linear, the output layer among them, what the engine computes with."""
    for site in served.sites:
        linear = model.get_submodule(site.name)
        linear.weight.copy_(served.site_weight(site.index))
        linear.__class__ = RoundedLinear

"""A shape as transformers knows it: its config, and what tensors it has, without having them."""

from __future__ import annotations

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from synthetic.shapes import SHAPES

# The seven linears of a decoder layer.
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def shape_config(shape: str) -> PreTrainedConfig:
    """transformers' config of a shape, in bfloat16.

    Raises:
        KeyError: no such shape.
    """
    fields = dict(SHAPES[shape])
    return AutoConfig.for_model(fields.pop("model_type"), dtype="bfloat16", **fields)


class Blueprint:
    """The names and shapes of a model's tensors, from transformers' own module on the meta device.

    Args:
        config: the model's.
    """

    def __init__(self, config: PreTrainedConfig) -> None:
        with torch.device("meta"):
            self._model: nn.Module = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        self._tied: bool = config.tie_word_embeddings

    @property
    def tensors(self) -> dict[str, torch.Size]:
        """Every tensor that the checkpoint holds; a tied lm_head is not among them."""
        named = {name: tensor.shape for name, tensor in self._model.state_dict().items()}
        return {name: shape for name, shape in named.items() if not (self._tied and name == "lm_head.weight")}

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """`(in, out)` of every linear in `TARGETS`, by module name."""
        return {
            name: (module.in_features, module.out_features)
            for name, module in self._model.named_modules()
            if isinstance(module, nn.Linear) and name.rpartition(".")[2] in TARGETS
        }

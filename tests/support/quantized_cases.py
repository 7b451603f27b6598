"""Every quantized format that is served, each as a checkpoint of the same small base."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from support.quantized import write_quantized
from support.quantized_awq import Awq
from support.quantized_bnb import write_bnb
from support.quantized_compressed import write_compressed
from support.quantized_fp8 import pack_rows, pack_tensor, pack_tiles, tiles_config
from support.quantized_gptq import Gptq

# From the base and the folder of the quantized checkpoint, to the folder with the weights that it means.
Write = Callable[[Path, Path], Path]


def _packed(how: Gptq | Awq) -> Write:
    return lambda base, folder: write_quantized(base, folder, how.config, how.pack)


def _group(weights: dict[str, Any], inputs: dict[str, Any] | None = None) -> Write:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return partial(_compressed, groups={"group_0": group})


def _compressed(base: Path, folder: Path, groups: dict[str, Any]) -> Path:
    return write_compressed(base, folder, groups)


def _float8(config: dict[str, Any], pack: Any) -> Write:
    return lambda base, folder: write_quantized(base, folder, config, pack)


_INT4, _INT8 = {"num_bits": 4, "type": "int"}, {"num_bits": 8, "type": "int"}
_FP8 = {"num_bits": 8, "type": "float"}
_BY_TOKEN = {"strategy": "token", "dynamic": True}

CASES: dict[str, Write] = {
    "gptq-int4": _packed(Gptq()),
    "gptq-int4-v2-asymmetric": _packed(Gptq(version="gptq_v2", symmetric=False, group=64)),
    "gptq-int4-act-order": _packed(Gptq(act_order=True, symmetric=False)),
    "gptq-int4-static-groups": _packed(Gptq(act_order=True, act_order_is_static=True)),
    "gptq-int4-channel": _packed(Gptq(group=-1)),
    "gptq-int8": _packed(Gptq(bits=8, group=128)),
    "gptq-int8-act-order": _packed(Gptq(bits=8, act_order=True)),
    "awq": _packed(Awq()),
    "awq-channel": _packed(Awq(group=-1)),
    "ct-int4-group": _group(_INT4 | {"strategy": "group", "group_size": 16}),
    "ct-int4-group-asymmetric": _group(_INT4 | {"strategy": "group", "group_size": 16, "symmetric": False}),
    "ct-int4-channel-asymmetric": _group(_INT4 | {"strategy": "channel", "symmetric": False}),
    "ct-int8-packed": _group(_INT8 | {"strategy": "group", "group_size": 16}),
    "ct-w8a8": _group(_INT8 | {"strategy": "channel"}, _INT8 | _BY_TOKEN),
    "ct-w8a8-static": _group(_INT8 | {"strategy": "channel"}, _INT8 | {"strategy": "tensor", "symmetric": False}),
    "ct-w4a8": _group(_INT4 | {"strategy": "channel"}, _INT8 | _BY_TOKEN),
    "ct-fp8-tensor-static": _group(_FP8 | {"strategy": "tensor"}, _FP8 | {"strategy": "tensor"}),
    "ct-fp8-channel": _group(_FP8 | {"strategy": "channel"}, _FP8 | _BY_TOKEN),
    "ct-fp8-block": _group(
        _FP8 | {"strategy": "block", "block_structure": [16, 16]},
        _FP8 | {"strategy": "group", "group_size": 16, "dynamic": True},
    ),
    "bnb-nf4": partial(write_bnb, load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    "bnb-nf4-double": partial(write_bnb, load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True),
    "bnb-fp4": partial(write_bnb, load_in_4bit=True, bnb_4bit_quant_type="fp4"),
    "bnb-int8": partial(write_bnb, load_in_8bit=True),
    "fp8-tiles": _float8(tiles_config(16, 16), pack_tiles(16, 16)),
    "fp8-tiles-ue8m0": _float8(tiles_config(16, 16, scale_fmt="ue8m0"), pack_tiles(16, 16, "ue8m0")),
    "fp8-tensor": _float8({"quant_method": "fp8", "activation_scheme": "dynamic"}, pack_tensor(static=False)),
    "fp8-tensor-static": _float8({"quant_method": "fp8", "activation_scheme": "static"}, pack_tensor(static=True)),
    "fbgemm": _float8({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, pack_rows),
}

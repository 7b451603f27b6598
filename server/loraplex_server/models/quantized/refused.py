"""Methods that are known and not served, and what to do instead."""

from __future__ import annotations

_FLOATS = "serve the floating-point checkpoint, with --quantization if need be"
_EXPORT = "export it with"

_ADVICE = {
    "auto-round": f"{_EXPORT} AutoRound's own format='auto_gptq' or 'auto_awq', which are served as GPTQ and AWQ",
    "intel/auto-round": f"{_EXPORT} AutoRound's own format='auto_gptq' or 'auto_awq', which are served as GPTQ and AWQ",
    "gguf": "it belongs to llama.cpp; " + _FLOATS,
    "exl2": "it belongs to ExLlamaV2; " + _FLOATS + ", or a GPTQ checkpoint of the same model",
    "exl3": "it belongs to ExLlamaV3; " + _FLOATS + ", or a GPTQ checkpoint of the same model",
    "modelopt": "llm-compressor writes the same FP8 as compressed-tensors, which is served; or " + _FLOATS,
    "quark": "llm-compressor writes INT4, INT8 and FP8 as compressed-tensors, which is served; or " + _FLOATS,
    "mxfp4": "its blocks of 32 with power-of-two scales have no kernel here; " + _FLOATS,
    "nvfp4": "its blocks of 16 with two levels of scales have no kernel here; " + _FLOATS,
    "mxfp8": "its blocks of 32 with power-of-two scales have no kernel here; " + _FLOATS,
}


def advice(method: str) -> str:
    """What to do about a checkpoint of a method that is not served."""
    return _ADVICE.get(method, _FLOATS)

"""PEFT's methods that are not served, why not, and what can be done about it.

Source: the methods of PEFT 0.21 (utils/peft_types.py), each one's forward in tuners/<method>/layer.py.
"""

from __future__ import annotations

from collections.abc import Mapping

_AS_LORA = "PEFT's save_as_lora makes a LoRA of it, as close as the rank that you give it allows"
_MERGE = "PEFT's merge_and_unload puts it into the base; serve the result as a model of its own"
_RETRAIN = "it cannot be merged either; train the task with one of the methods that are served"

# What it does, and the way out of it.
REFUSED: Mapping[str, tuple[str, str]] = {
    "ADAMSS": ("its factors are parts of the base weight's singular vectors, which the file does not hold", _MERGE),
    "ADAPTION_PROMPT": ("it adds an attention of its own inside the base's layers", _RETRAIN),
    "BOFT": ("it rotates whole outputs by butterfly products, an update of full rank", _MERGE),
    "BONE": (
        "PEFT itself renamed it to MISS and reads it no more",
        "PEFT's script convert-bone-to-miss.py turns the file into a MiSS adapter, which is served",
    ),
    "C3A": ("its update is a block-circulant matrix, of full rank", _AS_LORA),
    "FOURIERFT": ("its update is the Fourier transform of a sparse spectrum, of full rank", _AS_LORA),
    "FROD": ("it puts a weight of its own in the place of each base weight", _MERGE),
    "GLORA": ("it multiplies the base weight's entries, an update of full rank", _MERGE),
    "HIRA": ("it multiplies the base weight's entries by a low-rank product, an update of full rank", _AS_LORA),
    "LILY": ("its experts are weighed by the whole batch's inputs, so that requests change each other", _RETRAIN),
    "OSF": ("it trains most of the base weight's singular vectors, an update of full rank", _MERGE),
    "PEANUT": ("its update is a nonlinear network's output on the base weight, of full rank", _MERGE),
    "POLY": ("it mixes its parts by a task id, which a request cannot say", _RETRAIN),
    "PSOFT": ("its factors are the base weight's singular vectors, which the file does not hold", _AS_LORA),
    "RANDLORA": ("its update is a sum of many random products, of full rank", _AS_LORA),
    "ROAD": ("it rotates pairs of a linear's outputs, an update of full rank", _MERGE),
    "SHADOW": ("a second network of its own runs beside the base's layers", _RETRAIN),
    "SHIRA": ("its update is a sparse matrix, of full rank", _AS_LORA),
    "SUPERTUNING": ("its update is a sparse matrix, of full rank", _MERGE),
    "TINYLORA": ("its factors are the base weight's singular vectors, which the file does not hold", _AS_LORA),
    "UNILORA": ("it draws A and B out of one shared vector, by indices that are not read here", _AS_LORA),
    "WAVEFT": ("its update is the wavelet transform of a sparse spectrum, of full rank", _AS_LORA),
    "XLORA": ("it mixes several adapters by what a first pass says of each token", _RETRAIN),
}


def why_refused(peft_type: object) -> str:
    """The message for a `peft_type` that is not served."""
    if peft_type is None:
        return "adapter_config.json has no peft_type, so it was not written by PEFT"
    if isinstance(peft_type, str) and peft_type in REFUSED:
        reason, way_out = REFUSED[peft_type]
        return f"peft_type '{peft_type}' is not served: {reason}; {way_out}"
    return (
        f"peft_type {peft_type!r:.80} is not known to Loraplex, which knows those of PEFT up to 0.21; "
        "PEFT's merge_and_unload, where the method has it, puts the adapter into the base"
    )

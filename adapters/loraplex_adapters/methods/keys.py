"""The keys of a config that is not LoRA's: each one is served, harmless or refused by name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from loraplex_adapters.unserved import UNSERVED

# Of every config that PEFT writes, whatever the method.
HARMLESS: Mapping[str, str] = {
    "peft_type": "chose the method",
    "auto_mapping": "names the class that PEFT wraps",
    "base_model_name_or_path": "for listings only",
    "revision": "of the base model, for PEFT's own download",
    "task_type": "chooses PEFT's wrapper; what it adds shows up as modules_to_save",
    "inference_mode": "whether PEFT asks for gradients",
    "peft_version": "who wrote the file",
}


def unserved(values: Mapping[str, object], known: Collection[str]) -> Iterator[str]:
    """One reason for every key that is set and that nothing here reads, in the file's order.

    Args:
        values: of adapter_config.json.
        known: the keys that the method reads, or that may have any value.
    """
    for key, value in values.items():
        if key in known or key in HARMLESS or not value:
            continue
        if key == "modules_to_save":
            yield (
                "'modules_to_save' is set: whole modules of the base were trained and saved, which is not served "
                "beside virtual tokens"
            )
        elif key in UNSERVED:
            yield f"'{key}' is set: {UNSERVED[key]}"
        else:
            yield f"'{key}' is not known to Loraplex: a newer PEFT may mean something by {value!r:.80}"

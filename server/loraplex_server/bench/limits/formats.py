"""What a weight costs in each format."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """How weights are stored and multiplied.

    Attributes:
        name: on the command line.
        weight_bytes: of one weight, scales included.
        multiplied_as: the type whose rate bounds its products.
        activations: the type of activations, adapters and KV cache beside it.
    """

    name: str
    weight_bytes: float
    multiplied_as: str
    activations: str = "bfloat16"

    @property
    def activation_bytes(self) -> int:
        """Of one value of an adapter or of the KV cache."""
        return 4 if self.activations == "float32" else 2


FORMATS = {
    form.name: form
    for form in (
        Format("float32", 4.0, "float32", activations="float32"),
        Format("bfloat16", 2.0, "bfloat16"),
        # W8A8; a float32 scale an output row is under 0.5 % and left out.
        Format("int8", 1.0, "int8"),
        # Weight-only, a 16-bit scale for each group of 128: unpacked to bfloat16 before the product.
        Format("int4", 0.5 + 2 / 128, "bfloat16"),
    )
}


def head_format(form: Format, asked: str = "auto") -> Format:
    """The lm_head's format in this server, where the layers' linears have `form`.

    Args:
        form: of the linears, on a CPU that multiplies bytes.
        asked: `--head-quantization`; auto is int8 where the linears are rounded too.
    """
    rounded = asked == "int8" or (asked == "auto" and form.name != form.activations)
    return FORMATS["int8"] if rounded else FORMATS[form.activations]

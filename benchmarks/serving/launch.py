"""The command that serves a model for a benchmark."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

# Prompts must be computed, and a line a request is not what is measured.
ENGINE = "{format} --max-num-seqs {concurrency} --max-model-len 2048 --no-enable-prefix-caching"
LORAPLEX = (
    "{python} -m loraplex_server.cli serve {model} --adapters {adapters} --port {port} " + ENGINE + " --no-request-log"
)
FORMAT_ARGUMENTS = {
    "float32": "--dtype float32",
    "bfloat16": "--dtype bfloat16",
    "int8": "--dtype bfloat16 --quantization int8",
    "int4": "--dtype bfloat16 --quantization int4",
}


def serve_command(
    template: str, model: Path, adapters: Path, form: str, concurrency: int, port: int, more: Sequence[str] = ()
) -> list[str]:
    """`template` with the fields in braces filled in, as `LORAPLEX` has them, and `more` after it.

    Raises:
        ValueError: the template has another field in braces.
    """
    try:
        filled = template.format(
            python=shlex.quote(sys.executable),
            model=shlex.quote(str(model)),
            adapters=shlex.quote(str(adapters)),
            port=port,
            format=FORMAT_ARGUMENTS[form],
            concurrency=concurrency,
        )
    except (KeyError, IndexError) as field:
        raise ValueError(f"--server: there is nothing to fill {{{field}}} with") from field
    return [*shlex.split(filled), *more]

"""llama.cpp's converters, for a tokenizer that they do not know, and for many adapters in one process.

    python to_gguf.py LLAMA.CPP model MODEL OUT
    python to_gguf.py LLAMA.CPP adapters MODEL ADAPTER=OUT ...

They tell how a tokenizer cuts text into words by a hash of some text's tokens, and refuse one that they never saw.
Prompts come as token ids here, so any rule does; that of Qwen 2 is taken.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Convert to bfloat16 files. An OUT is there only once it is whole."""
    source, kind, model = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    outputs = sys.argv[4:]
    sys.path.insert(0, str(source))
    _accept_any_tokenizer()
    if kind == "model":
        _convert(source / "convert_hf_to_gguf.py", [model], Path(outputs[0]))
        return
    for pair in outputs:
        adapter, _, out = pair.partition("=")
        _convert(source / "convert_lora_to_gguf.py", [adapter, "--base", model], Path(out))


def _convert(script: Path, what: list[str], out: Path) -> None:
    part = out.with_name(f"part-{out.name}")
    sys.argv = [str(script), *what, "--outtype", "bf16", "--outfile", str(part)]
    runpy.run_path(str(script), run_name="__main__")
    part.replace(out)


def _accept_any_tokenizer() -> None:
    from conversion import base  # of llama.cpp

    known = base.TextModel.get_vocab_base_pre

    def rule(self: Any, tokenizer: Any) -> str:
        try:
            return str(known(self, tokenizer))
        except NotImplementedError:
            return "qwen2"

    base.TextModel.get_vocab_base_pre = rule


if __name__ == "__main__":
    main()

"""Small tokenizers of the two kinds that models come with."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from support.api import build_tokenizer


def byte_level() -> PreTrainedTokenizerFast:
    """Of GPT-2's kind: tokens are bytes, written as letters."""
    return build_tokenizer()


def sentencepiece() -> PreTrainedTokenizerFast:
    """Of Llama 2's kind: tokens are text with a mark for spaces, and bytes for what no token has."""
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        "▁▁",
        "a",
        "b",
        "▁a",
        "ab",
        "é",
        "{",
    ]
    merges = [("▁", "▁"), ("▁", "a"), ("a", "b")]
    vocab = {piece: id for id, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def added(tokenizer: PreTrainedTokenizerFast, *words: str) -> PreTrainedTokenizerFast:
    """With more tokens, which are text like any other."""
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in words])
    return tokenizer

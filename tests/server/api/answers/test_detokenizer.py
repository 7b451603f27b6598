from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models

from loraplex_server.api.answers.detokenizer import MOST_SILENT, Detokenizer
from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.rendering.vocabulary import Vocabulary

TEXTS = ["plain words", "héllo wörld", "日本語 and 😀😀 emoji", "𝔘𝔫𝔦 \u200d👩\u200d🚀 ", "\n\n  spaces \t", ""]


@pytest.fixture
def metaspace() -> Tokenizer:
    """As Llama 2 and Gemma have it: words carry their space, odd characters fall back to bytes."""
    vocabulary = ["<unk>", "<s>", "▁Hello", "▁", "a", "▁b", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(
        models.BPE(vocab={t: i for i, t in enumerate(vocabulary)}, merges=[], byte_fallback=True, unk_token="<unk>")
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


@pytest.mark.parametrize("text", TEXTS)
def test_the_parts_make_the_whole_and_none_is_half_a_character(renderer: Renderer, text: str) -> None:
    ids = renderer.tokenizer.encode(text).ids
    detokenizer = Detokenizer(renderer.tokenizer)
    parts = [detokenizer.step(id) for id in ids]
    assert "".join(parts) == text
    assert "\ufffd" not in "".join(parts)
    assert detokenizer.length == len(text)


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_prompt_that_ends_inside_a_character_does_no_harm(renderer: Renderer, cut: int) -> None:
    ids = renderer.tokenizer.encode("日本語").ids
    detokenizer = Detokenizer(renderer.tokenizer, ids[:cut])
    rest = renderer.tokenizer.encode(" word").ids
    assert "".join(detokenizer.step(id) for id in rest).endswith(" word")


def test_bytes_that_never_become_a_character_are_shown_as_replaced_once_it_is_certain(renderer: Renderer) -> None:
    lone, word = renderer.tokenizer.encode("é").ids[0], renderer.tokenizer.encode("he").ids
    detokenizer = Detokenizer(renderer.tokenizer)
    assert detokenizer.step(lone) == ""
    assert "".join(detokenizer.step(id) for id in word) == "\ufffdhe"


def test_special_tokens_are_left_out_unless_asked_for(renderer: Renderer) -> None:
    end = renderer.end_tokens[0]
    assert Detokenizer(renderer.tokenizer).step(end) == ""
    assert Detokenizer(renderer.tokenizer, skip_special_tokens=False).step(end) == "<|end|>"


@pytest.mark.parametrize("special", [True, False])
def test_tokens_without_a_text_are_not_kept_for_ever(renderer: Renderer, special: bool) -> None:
    lone = renderer.tokenizer.encode("é").ids[0]
    silent = renderer.end_tokens[0] if special else lone
    detokenizer = Detokenizer(renderer.tokenizer, renderer.tokenizer.encode("he said").ids)
    assert {detokenizer.step(silent) for _ in range(1000)} == {""}
    assert len(detokenizer._silent) < MOST_SILENT
    said = "".join(detokenizer.step(id) for id in renderer.tokenizer.encode(" 日本語").ids)
    assert said.lstrip("\ufffd") == " 日本語"
    assert len(said) - len(" 日本語") == (0 if special else 1000 % MOST_SILENT)


def test_a_word_after_many_silent_tokens_keeps_its_space(metaspace: Tokenizer) -> None:
    hello, b = (metaspace.token_to_id(token) for token in ("▁Hello", "▁b"))
    detokenizer = Detokenizer(metaspace)
    byte = metaspace.token_to_id("<0xE6>")
    said = [detokenizer.step(id) for id in (hello, *[byte] * MOST_SILENT, b)]
    assert "".join(said) == "Hello b"


def test_an_id_beyond_the_tokenizer_has_no_text(renderer: Renderer) -> None:
    detokenizer = Detokenizer(renderer.tokenizer)
    assert detokenizer.step(510) == ""
    assert "".join(detokenizer.step(id) for id in renderer.tokenizer.encode("he").ids) == "he"


def test_a_first_word_keeps_its_space_after_a_prompt_only(metaspace: Tokenizer) -> None:
    hello = metaspace.token_to_id("▁Hello")
    assert Detokenizer(metaspace).step(hello) == "Hello"
    assert Detokenizer(metaspace, [metaspace.token_to_id("a")]).step(hello) == " Hello"


def test_byte_fallback_tokens_wait_for_their_character(metaspace: Tokenizer) -> None:
    ids = [metaspace.token_to_id(f"<0x{byte:02X}>") for byte in "€".encode()]
    detokenizer = Detokenizer(metaspace)
    assert [detokenizer.step(id) for id in ids] == ["", "", "€"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_vocabulary_knows_the_exact_bytes(renderer: Renderer, text: str) -> None:
    ids = renderer.tokenizer.encode(text).ids
    assert b"".join(renderer.vocabulary.raw(id) for id in ids) == text.encode()


def test_a_vocabulary_reads_both_kinds_of_tokenizers(renderer: Renderer, metaspace: Tokenizer) -> None:
    vocabulary = Vocabulary(metaspace)
    raw = {token: vocabulary.raw(metaspace.token_to_id(token)) for token in ("▁Hello", "<0xE2>", "a", "<unk>")}
    assert raw == {"▁Hello": b" Hello", "<0xE2>": b"\xe2", "a": b"a", "<unk>": b"<unk>"}
    assert vocabulary.text(metaspace.token_to_id("<0xE2>")) == "\ufffd"
    assert renderer.vocabulary.text(renderer.end_tokens[0]) == "<|end|>"
    assert renderer.vocabulary.raw(511) == b""

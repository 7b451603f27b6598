"""A tokenizer that needs no download: byte-level BPE, trained on Python's own library."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END_OF_TEXT, TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# What is trained; the rest of a model's vocabulary is filled up.
TRAINED = 16384

# ChatML, as Qwen's.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer of `vocabulary` tokens that can encode any text; past `TRAINED`, they are words that no text has.

    A model with random weights answers with any id. Were some without text, servers that stream only text would send
    no event for them, and neither their latency nor the cost of detokenizing would be measured.

    Another Python version has another library, and so another tokenizer: the words do not matter here, their being
    encoded and decoded as a real model's does.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(TRAINED, vocabulary),
        special_tokens=[AddedToken(text, special=True) for text in (END_OF_TEXT, TURN, END_OF_TURN)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(path) for path in _sources(vocabulary)], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=_filled(tokenizer, vocabulary),
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _filled(tokenizer: Tokenizer, vocabulary: int) -> Tokenizer:
    """No merge leads to the added words, so encoding never gives them."""
    state = json.loads(tokenizer.to_str())
    words = state["model"]["vocab"]
    words.update({f"\u0120qx{token:x}": token for token in range(len(words), vocabulary)})
    return Tokenizer.from_str(json.dumps(state))


def _sources(vocabulary: int) -> list[Path]:
    """The library's top-level modules; a small vocabulary is filled by a few of them."""
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return modules if vocabulary > 4096 else modules[:8]

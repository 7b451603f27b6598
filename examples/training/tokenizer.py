"""The tokenizer: byte-level BPE in which a bare word, a name or a number is spelt, one token a character."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from training.tasks import TASKS

VOCAB_SIZE = 512
BOS, PAD, END = "<|begin|>", "<|pad|>", "<|end|>"
ROLES = ("system", "user", "assistant")
# Only lower-case words after a space merge, as in running text. The tasks are about characters, and a model this
# small must see them.
_PIECES = Regex(r" \p{Ll}+|\p{L}|\p{N}|[^\s\p{L}\p{N}]+|\s")
_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('the roles are system, user and assistant, not ' + message['role']) }}{% endif %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def _corpus(seed: int) -> Iterator[str]:
    rng = Random(f"tokenizer-{seed}")
    for _ in range(4000):
        example = rng.choice(TASKS).train(rng)
        yield example.prompt
        yield example.answer


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """A tokenizer of `VOCAB_SIZE` tokens that can spell any text: all 256 bytes are tokens.

    It adds no token by itself; the chat template writes the first one. So a templated text that is sent to
    /v1/completions has the very ids that /v1/chat/completions makes.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(_PIECES, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [BOS, PAD, END, *(f"<|{role}|>" for role in ROLES)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(seed), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=special[3:],
        chat_template=_TEMPLATE,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )

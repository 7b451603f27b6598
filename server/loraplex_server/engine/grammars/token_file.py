"""A tokenizer on its way to the engine, which needs one for its masks only: a file, read once."""

from __future__ import annotations

import msgspec


class TokenFile(msgspec.Struct, frozen=True):
    """What the file holds, as MessagePack."""

    tokenizer: str  # as the tokenizers library writes it
    # By id, what each token adds to an answer's text. None where that is not to be compared: of special tokens, which
    # are no text, and of ids that stand for nothing.
    texts: list[bytes | None]


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(TokenFile).decode

from __future__ import annotations

from loraplex_adapters.generation import ContentHash, short


def generation(config: bytes, *pieces: bytes) -> str:
    content = ContentHash(config)
    for piece in pieces:
        content.update(piece)
    return content.generation()


def test_the_hash_is_of_the_content_and_not_of_its_pieces() -> None:
    assert generation(b"{}", b"abcdef") == generation(b"{}", b"ab", b"", memoryview(b"cdef"))
    assert generation(b"{}", b"abcdef") != generation(b"{}", b"abcdeg")
    assert generation(b"{}", b"abcdef") != generation(b"[]", b"abcdef")


def test_no_byte_can_move_from_one_file_to_the_other() -> None:
    assert generation(b"{} ", b"abc") != generation(b"{}", b" abc")


def test_the_short_form_begins_the_long_one() -> None:
    long = generation(b"{}", b"abc")
    assert len(long) == 64
    assert long.startswith(short(long))
    assert len(short(long)) == 12

"""Answers are on the disk before they count, and what was broken off leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import pytest

from loraplex_server.batch.answer import Answer, Reply, encode, replied
from loraplex_server.batch.answer_file import AnswerFile, AnswerFileError

BODY = msgspec.Raw(b'{"usage":{"prompt_tokens":1}}')


def answer(name: str) -> Answer:
    return replied(name, Reply(200, "r", BODY))


async def filled(path: Path, names: list[str]) -> list[str | None]:
    kept: list[Answer] = []
    file = AnswerFile(path, kept.append)
    before = [each.custom_id for each in file.recover()]
    await asyncio.gather(*(file.put(answer(name)) for name in names))
    await file.close()
    assert [each.custom_id for each in kept] == names
    return before


async def test_what_was_written_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "out"
    assert await filled(path, ["a", "b"]) == []
    assert await filled(path, ["c"]) == ["a", "b"]
    assert await filled(path, []) == ["a", "b", "c"]


async def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "out"
    await filled(path, ["a"])
    whole = path.read_bytes()
    for torn in (b"{", encode(answer("b"))):
        path.write_bytes(whole + torn)
        assert await filled(path, []) == ["a"]
        assert path.read_bytes() == whole


async def test_another_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "out"
    for content in (b"my notes\n", b"my notes\nand more", b'{"a": 1}\n'):
        path.write_bytes(content)
        file = AnswerFile(path, lambda _: None)
        with pytest.raises(AnswerFileError, match="line 1"):
            list(file.recover())
        await file.close()
        assert path.read_bytes() == content


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_has_no_end_is_no_file_of_answers(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "pipe" if kind == "pipe" else Path("/dev/full")
    if kind == "pipe":
        os.mkfifo(path)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(AnswerFileError, match="is no regular file"):
        AnswerFile(path, lambda _: None)
    assert len(os.listdir("/proc/self/fd")) == before


async def test_two_runs_never_write_one_file(tmp_path: Path) -> None:
    first = AnswerFile(tmp_path / "out", lambda _: None)
    with pytest.raises(AnswerFileError, match="another run"):
        AnswerFile(tmp_path / "out", lambda _: None)
    await first.close()
    await AnswerFile(tmp_path / "out", lambda _: None).close()


async def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out"
    file = AnswerFile(path, lambda _: None)
    list(file.recover())
    await file.put(answer("a"))
    whole, write = path.read_bytes(), os.write

    def half(descriptor: int, data: memoryview) -> int:
        write(descriptor, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="No space"):
        await file.put(answer("b"))
    assert path.read_bytes() == whole
    monkeypatch.undo()
    await file.put(answer("c"))
    await file.close()
    assert await filled(path, []) == ["a", "c"]


async def test_an_answer_whose_waiter_is_gone_is_kept(tmp_path: Path) -> None:
    kept: list[Answer] = []
    file = AnswerFile(tmp_path / "out", kept.append)
    waiter = asyncio.create_task(file.put(answer("a")))
    await asyncio.sleep(0)
    waiter.cancel()
    await file.close()
    assert [each.custom_id for each in kept] == ["a"]

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loraplex_adapters.errors import SourceNotAllowedError, SourceNotFoundError
from loraplex_adapters.fingerprint import CONFIG_FILE, TENSOR_FILE
from loraplex_adapters.sources import AllowedSources, Sources, parse_address


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("/data/adapters/a", "/data/adapters/a"),
        ("/data/a/", "/data/a"),
        ("org/name", "hf://org/name"),
        ("hf://org/name", "hf://org/name"),
        ("org/name@main", "hf://org/name@main"),
        ("hf://org/name@refs/pr/1", "hf://org/name@refs/pr/1"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/team/a b/", "s3://bucket/team/a b"),
        ("S3://bucket/a", "s3://bucket/a"),
        ("gs://bucket/a", "gs://bucket/a"),
        ("https://Host.example/x/", "https://host.example/x"),
        ("https://host:443/x", "https://host/x"),
        ("https://host:8443/x", "https://host:8443/x"),
        ("https://[::1]:8443/x", "https://[::1]:8443/x"),
        ("https://[::1]/x", "https://[::1]/x"),
    ],
)
def test_each_form_has_one_spelling(text: str, spelled: str) -> None:
    assert parse_address(text).text == spelled
    assert parse_address(spelled) == parse_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "./a",
        "../a",
        "~/a",
        "/data/../etc",
        "/data/./a",
        "/data//a",
        "/data/a\n",
        "/data/a\x00",
        "org/name/more",
        "org/../name",
        "../org/name",
        "org/na..me",
        "org/name@",
        "org/name@../x",
        "org/name@a..b",
        "hf://name",
        "s3://",
        "s3://B",
        "s3://bucket/../x",
        "s3://bucket/a//b",
        "s3://bucket/%2e%2e/x",
        "s3://key:secret@bucket/x",
        "gs://bucket/a?b",
        "http://host/x",
        "file:///etc/passwd",
        "ftp://host/x",
        "https://user:password@host/x",
        "https://host@evil/x",
        "https://host/x?token=hunter2",
        "https://host/x#y",
        "https://host/%2e%2e/x",
        "https://host/a\\b",
        "https://host:0/x",
        "https://host:99999/x",
        "https://ho st/x",
        "https:///x",
        "https://-host/x",
        "https://höst/x",
        "s3://bucket/" + "x" * 2000,
    ],
)
def test_what_is_no_place_or_tries_something_is_refused(text: str) -> None:
    with pytest.raises(SourceNotAllowedError) as error:
        parse_address(text)
    assert not [secret for secret in ("password@", "hunter2", "secret@") if secret in str(error.value)]


@pytest.mark.parametrize(
    ("pattern", "allowed", "refused"),
    [
        ("org/*", ["org/a", "org/b@x", "hf://org/c"], ["other/a", "s3://org/a", "/org/a"]),
        ("hf://org/llama-*", ["org/llama-1"], ["org/qwen", "org/xllama-1"]),
        ("hf://*", ["a/b"], ["https://a/b"]),
        ("org/a@v1", ["org/a@v1"], ["org/a", "org/a@v2"]),
        ("s3://bucket/team/", ["s3://bucket/team", "s3://bucket/team/a"], ["s3://bucket/team2", "s3://other/team"]),
        ("s3://bucket/*", ["s3://bucket/a/b"], ["gs://bucket/a", "s3://bucket2/a"]),
        (
            "https://host/x/",
            ["https://host/x/y"],
            ["https://host/xy", "https://host:8443/x/y", "https://host.evil/x/y"],
        ),
    ],
)
def test_a_pattern_permits_what_lies_below_it_and_no_more(pattern: str, allowed: list[str], refused: list[str]) -> None:
    sources = AllowedSources([pattern])
    for text in allowed:
        sources.require(parse_address(text))
    for text in refused:
        with pytest.raises(SourceNotAllowedError, match="settings do not let adapters come from"):
            sources.require(parse_address(text))


def test_nothing_is_permitted_by_default() -> None:
    for text in ("/data", "org/name", "s3://bucket/a", "https://host/x"):
        with pytest.raises(SourceNotAllowedError):
            AllowedSources().require(parse_address(text))


@pytest.mark.parametrize(
    "pattern", ["", "name", "*", "s3://*", "s3://bucket/te*m", "http://x/", "https://u:p@h/", "a/b/c"]
)
def test_a_pattern_that_means_nothing_is_an_error(pattern: str) -> None:
    with pytest.raises(ValueError, match="permits no source"):
        AllowedSources([pattern])


def make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text("{}")
    (folder / TENSOR_FILE).write_bytes(b"")
    return folder


async def test_a_folder_is_confined_to_what_is_permitted(tmp_path: Path) -> None:
    inside, outside = make(tmp_path / "data" / "a"), make(tmp_path / "data-of-others" / "b")
    (tmp_path / "data" / "out").symlink_to(outside)
    (tmp_path / "data" / "in").symlink_to(inside)
    leaking = make(tmp_path / "data" / "leaking")
    (leaking / TENSOR_FILE).unlink()
    (leaking / TENSOR_FILE).symlink_to(outside / TENSOR_FILE)
    sources = Sources(AllowedSources([f"{tmp_path / 'data'}/*"]))
    assert (await sources.open(parse_address(str(inside)))).path == str(inside)
    assert (await sources.open(parse_address(str(tmp_path / "data" / "in")))).path == str(inside)
    for path in (outside, tmp_path / "data" / "out", leaking):
        with pytest.raises(SourceNotAllowedError):
            await sources.open(parse_address(str(path)))
    with pytest.raises(SourceNotFoundError):
        await sources.open(parse_address(str(tmp_path / "data" / "missing")))


async def test_a_permitted_folder_may_itself_be_a_link(tmp_path: Path) -> None:
    real = make(tmp_path / "real" / "a")
    os.symlink(tmp_path / "real", tmp_path / "link")
    sources = Sources(AllowedSources([str(tmp_path / "link")]))
    assert (await sources.open(parse_address(str(tmp_path / "link" / "a")))).path == str(real)

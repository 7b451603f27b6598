"""The command line of run-batch: vLLM's spelling and ours, and what means nothing there."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraplex_server import cli
from loraplex_server.batch.arguments import read_arguments
from loraplex_server.batch.options import Remote
from loraplex_server.settings import ServeSettings, SettingsError

pytestmark = pytest.mark.usefixtures("no_settings")


@pytest.mark.parametrize(
    "arguments",
    [
        "in out --model m --max-num-seqs 4",
        "--model m in --max-num-seqs 4 out",
        "-i in -o out --model m --max-num-seqs=4",
        "--model m --max-num-seqs 4 -o out in",
    ],
)
def test_both_spellings_say_the_same(arguments: str) -> None:
    options = read_arguments(arguments.split())
    assert (options.source, options.target, options.concurrency) == (Path("in"), Path("out"), None)
    assert isinstance(options.server, ServeSettings)
    assert (options.server.model, options.server.max_num_seqs) == ("m", 4)
    assert (options.server.log_level, options.server.request_log) == ("warning", False)


def test_the_model_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAPLEX_MODEL", "there")
    for arguments, model in (("in out", "there"), ("in out --model here", "here")):
        server = read_arguments(arguments.split()).server
        assert isinstance(server, ServeSettings)
        assert server.model == model


def test_a_running_server_takes_the_place_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAPLEX_ADMIN_KEY", "boss")  # which no other server has to know
    assert read_arguments(["in", "out", "--url", "http://x:1"]).server == Remote("http://x:1", None)
    monkeypatch.setenv("LORAPLEX_API_KEY", "k1,k2")
    options = read_arguments(["in", "out", "--url", "http://x:1", "--concurrency", "7"])
    assert (options.server, options.concurrency) == (Remote("http://x:1", "k1"), 7)
    options = read_arguments(["in", "out", "--url", "http://x:1", "--api-key", "mine"])
    assert options.server == Remote("http://x:1", "mine")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "IN is missing"),
        ("in --model m", "OUT is missing"),
        ("a b c --model m", "unexpected argument 'c'"),
        ("-i a -o b c --model m", "unexpected argument 'c'"),
        ("in out", "MODEL is missing"),
        ("in out --model m --port 80", "unknown option --port"),
        ("in out --model m --api-key k", "--api-key means nothing without --url"),
        ("in out --url u --dtype float32 --model m", "--model means nothing with --url"),
        ("in out --model m --concurrency 0", "--concurrency"),
    ],
)
def test_what_is_wrong_is_named(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run-batch", *arguments.split()]) == 2
    assert said in capsys.readouterr().err
    with pytest.raises(SettingsError):
        read_arguments(arguments.split())

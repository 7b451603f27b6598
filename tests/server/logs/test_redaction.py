from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import loraplex_server
from loraplex_server.api.errors import bad_request
from loraplex_server.logs.redaction import HIDDEN, Redactor, know_secrets, redact
from loraplex_server.logs.secrets import SHORTEST, secrets_in
from loraplex_server.tenants.secret import new_secret

HUB = "hf_" + "aB3" * 11
AWS = "AKIA" + "Q" * 16
SIGNATURE = "0123456789abcdef" * 4
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abcdef-123", "abcdef-123"),
        ("{'authorization': 'Basic dXNlcjpwdw=='}", "dXNlcjpwdw"),
        ("[(b'authorization', b'Bearer abcdef-123')]", "abcdef-123"),
        ('{"headers": "{\\"x-api-key\\": \\"abcdef-123\\"}"}', "abcdef-123"),
        ("tried with bearer abcdef-123 in vain", "abcdef-123"),
        ("api_key=abcdef-123, port=80", "abcdef-123"),
        ("--admin-key abcdef --admin-key=abcdef-123", "abcdef-123"),
        ("Cookie: session=abcdef", "session=abcdef"),
        ("https://ann:pa55word@host/x", "pa55word"),
        ("s3://AKEY:pa55word@bucket/x", "pa55word"),
        (f"GET https://b.s3.amazonaws.com/a?X-Amz-Credential={AWS}&X-Amz-Signature={SIGNATURE} 403", SIGNATURE),
        (f"GET https://storage.googleapis.com/a?X-Goog-Signature={SIGNATURE}", SIGNATURE),
        ("https://acc.blob.core.windows.net/a?sv=1&sig=abcdef%2B", "abcdef"),
        (f"/a?Signature={SIGNATURE}&Expires=1", SIGNATURE),
        (f"credential {AWS}/20260101", AWS),
        (f"token {HUB} is no longer valid", HUB),
        pytest.param("the key " + (secret := new_secret()), secret, id="a key of ours"),
        ("Incorrect API key provided: sk-proj-abcdefghijklmnop", "sk-proj-abcdefghijklmnop"),
        (f"token {JWT}", JWT),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI"),
        ("password: hunter2", "hunter2"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, secret: str) -> None:
    shown = Redactor()(text)
    assert secret not in shown
    assert HIDDEN in shown
    assert Redactor()(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Send a valid API key as 'Authorization: Bearer KEY'",
        "Nobody may add adapters over the API of this server: it has no admin key (--admin-key KEY)",
        "hf://org/name@main",
        "the bearer of bad news",
        "basic arithmetic: 12345",
        "output_tokens=7 prompt_tokens=123456 key=key_5c0d6f2f1a7e90b3",
        "a token is a character; disk-cache, task-force",
        "https://host/adapters/sql",
        "set HF_TOKEN in the environment: a command line can be read by others",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert Redactor()(text) == text


def test_no_message_of_our_own_is_changed() -> None:
    root = Path(loraplex_server.__file__).parent
    texts = [
        text
        for path in root.rglob("*.py")
        if "logs" not in path.parts
        for text in re.findall(r'"([^"\\\n]{10,})"', path.read_text(encoding="utf-8"))
        if "EXAMPLE" not in text and "lp-" not in text
    ]
    changed = [text for text in texts if Redactor()(text) != text]
    assert len(texts) > 1000
    assert changed == []


SECRETS = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=SHORTEST, max_size=30)


@given(SECRETS, st.sampled_from(["{}", "key '{}' is wrong", "x {} y {}", "({})"]))
def test_what_is_known_is_hidden_however_it_is_written(secret: str, frame: str) -> None:
    text = frame.replace("{}", secret)
    redactor = Redactor([secret])
    for written in (text, json.dumps({"m": text}), repr(text), json.dumps(text, ensure_ascii=False)):
        shown = redactor(written)
        assert HIDDEN in shown
        assert secret not in shown.replace(HIDDEN, "") or secret in HIDDEN + written.replace(text, "")


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_a_line_of_json_stays_one(text: str) -> None:
    line = json.dumps({"message": f"authorization: Bearer {text}", "x": text, "url": f"https://a:b@c/?{text}"})
    assert json.loads(Redactor([text])(line)).keys() <= {"message", "x", "url", HIDDEN}


def test_a_part_of_a_longer_word_is_not_meant() -> None:
    assert Redactor(["server"])("loraplex_server, server!") == f"loraplex_server, {HIDDEN}!"


def test_the_environments_secrets_are_known() -> None:
    found = secrets_in(
        {
            "HF_TOKEN": "token-1",
            "LORAPLEX_API_KEY": "first-key,second-key",
            "AWS_SECRET_ACCESS_KEY": "secret/1",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20header-1,x-team=header-2",
            "HF_TOKEN_PATH": "not/this",
            "GOOGLE_APPLICATION_CREDENTIALS": "/run/key.json",
            "LORAPLEX_ADMIN_KEY": "abc",  # too short
            "TOKENIZERS_PARALLELISM": "false-false",
        }
    )
    assert {"token-1", "first-key", "second-key", "secret/1", "header-1", "header-2"} <= found
    assert not [text for text in found if text in ("not/this", "abc", "false-false") or text.startswith("/")]


def test_answers_have_none_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "my-own-token")
    know_secrets(["my-own-key"])
    try:
        error = bad_request(f"my-own-key and my-own-token do not open https://a:b@c/?sig={SIGNATURE}")
        assert str(error) == error.message == f"{HIDDEN} and {HIDDEN} do not open https://{HIDDEN}@c/?{HIDDEN}"
    finally:
        monkeypatch.delenv("HF_TOKEN")
        know_secrets()
    assert redact("my-own-key") == "my-own-key"

"""The text of keys."""

from __future__ import annotations

from loraplex_server.tenants.secret import digest_of, is_secret, new_secret


def test_every_key_is_new_and_knows_itself() -> None:
    made = {new_secret() for _ in range(200)}
    assert len(made) == 200
    assert all(is_secret(secret) and len(secret) == 52 and secret.startswith("lp-") for secret in made)
    assert len({digest_of(secret) for secret in made}) == 200


def test_a_slip_anywhere_is_seen() -> None:
    secret = new_secret()
    for place in range(len(secret)):
        other = "x" if secret[place] != "x" else "y"
        assert not is_secret(secret[:place] + other + secret[place + 1 :])
    for text in ("", "lp-", secret[:-1], secret + "0", "sk-" + secret[3:], "lp-" + "é" * 49):
        assert not is_secret(text)

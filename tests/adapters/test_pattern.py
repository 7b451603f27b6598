from __future__ import annotations

import re

import pytest

from loraplex_adapters.pattern import LONGEST, MOST_CHOICES, OPEN_REPEAT, pattern_reason

# As trainers write them.
USUAL = [
    "q_proj",
    r".*decoder.*(SelfAttention|EncDecAttention).*(q|v)$",
    r"model\.layers\.(\d|1\d|2[0-7])\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj",
    r"(.*\.)?(^model.decoder.layers.0.encoder_attn.k_proj)$",
    r"(?:^|.*?\.)layers\.(?P<idx>\d+)\.",
    r"^(?!.*visual)(?=.*(language|text)).*proj",
    r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?"
    r"(?:k_proj|v_proj|q_proj|out_proj|fc1|fc2|o_proj|gate_proj|down_proj|up_proj).*?)"
    r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\."
    r"(?:(?:k_proj|v_proj|q_proj|out_proj|fc1|fc2|o_proj|gate_proj|down_proj|up_proj)))",
]


@pytest.mark.parametrize("pattern", USUAL)
def test_a_usual_pattern_is_taken(pattern: str) -> None:
    assert pattern_reason(pattern) is None


@pytest.mark.parametrize(
    "pattern", [r"(\w+)+!", r"(a|b.)*c", r"(?:.*?x)*", r"([a-z]*_?)+$", r"(a?){30}a{30}", r"((xx|y)z){2,}"]
)
def test_a_repeated_group_with_choices_is_refused(pattern: str) -> None:
    assert "repeats a group" in str(pattern_reason(pattern))


@pytest.mark.parametrize("pattern", [".*" * 7, "a?" * 27 + "a" * 27, "(a|aa)" * 27, r"(?=" + ".*" * 7 + ")"])
def test_too_many_choices_in_a_row_are_refused(pattern: str) -> None:
    assert "so many repeats" in str(pattern_reason(pattern))


@pytest.mark.parametrize(
    "pattern", ["(", "*", "[z-a]", "(?P<a>x)(?P<a>y)", r"\1", "x{99999999999999999999}", "(" * 5000 + ")" * 5000]
)
def test_a_malformed_pattern_is_refused(pattern: str) -> None:
    assert "is not a regular expression" in str(pattern_reason(pattern))


def test_a_very_long_pattern_is_refused() -> None:
    assert "is longer than" in str(pattern_reason("x" * (LONGEST + 1)))


def test_the_slowest_pattern_that_is_taken_ends() -> None:
    """With a higher limit, this test would run for minutes."""
    pattern = ".*" * (MOST_CHOICES // OPEN_REPEAT) + "!"
    assert pattern_reason(pattern) is None
    assert re.fullmatch(pattern, "model.layers.27.self_attn.q_proj") is None

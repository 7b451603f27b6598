from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraplex_server.api.answers.stop_strings import StopStrings


def run(stops: list[str], parts: list[str], include: bool = False) -> tuple[str, str | None]:
    matcher = StopStrings(stops, include)
    shown = ""
    for part in parts:
        text, stop = matcher.feed(part)
        shown += text
        if stop is not None:
            return shown, stop
    return shown + matcher.flush(), None


@pytest.mark.parametrize(
    ("stops", "text", "shown", "stop"),
    [
        (["END"], "before END after", "before ", "END"),
        (["END"], "END", "", "END"),
        (["END"], "no such thing EN", "no such thing EN", None),
        (["\n\n"], "a\nb\n\nc", "a\nb", "\n\n"),
        (["aab"], "aaab", "a", "aab"),
        (["日本"], "はい日本です", "はい", "日本"),
        (["😀!"], "ok 😀😀! no", "ok 😀", "😀!"),
        (["abcd", "bc"], "xabcd", "xa", "bc"),
        (["bc", "abc"], "xabc", "x", "abc"),
        ([], "anything", "anything", None),
    ],
)
def test_any_cut_of_the_text_gives_the_same_answer(stops: list[str], text: str, shown: str, stop: str | None) -> None:
    for size in range(1, len(text) + 1):
        parts = [text[i : i + size] for i in range(0, len(text), size)]
        assert run(stops, parts) == (shown, stop), parts


@pytest.mark.parametrize("cuts", list(itertools.combinations(range(1, 9), 3)))
def test_a_stop_string_is_found_across_any_three_cuts(cuts: tuple[int, ...]) -> None:
    text = "ab<stop>c"
    parts = [text[i:j] for i, j in zip((0, *cuts), (*cuts, len(text)), strict=True)]
    assert run(["<stop>"], parts) == ("ab", "<stop>")
    assert run(["<stop>"], parts, include=True) == ("ab<stop>", "<stop>")


def test_no_part_of_a_stop_string_is_ever_shown() -> None:
    matcher = StopStrings(["STOP"])
    assert [matcher.feed(c)[0] for c in "aSTO"] == ["a", "", "", ""]
    assert matcher.feed("x") == ("STOx", None)


def test_only_what_could_begin_a_stop_string_is_held_back() -> None:
    matcher = StopStrings(["a long stop string", "other"])
    assert matcher.feed("plain text") == ("plain text", None)
    assert matcher.feed("and a lo") == ("and ", None)


def test_text_that_is_skipped_stops_nothing_even_where_it_joins_later_text() -> None:
    matcher = StopStrings(["END"])
    assert matcher.skip("END EN") == "END EN"
    assert matcher.feed("D") == ("D", None)
    assert matcher.feed("END") == ("", "END")


@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3), st.text("abc", max_size=12), st.data())
def test_cuts_never_matter(stops: list[str], text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    parts = [text[i:j] for i, j in zip((0, *cuts), (*cuts, len(text)), strict=True)]
    shown, stop = run(stops, parts)
    assert (shown, stop) == run(stops, list(text))
    if stop is None:
        assert shown == text
        assert not any(each in text for each in stops)
    else:
        assert text.startswith(shown + stop)
        # Nothing stopped earlier: cut the last character, and no stop string is there.
        assert not any(each in (shown + stop)[:-1] for each in stops)

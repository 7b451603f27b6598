"""The ten tasks of the demo. None is named in its prompt: only the adapter knows what is wanted."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

from training.sentences import person, review
from training.task import Example, Task, one_in_five
from training.words import any_word, is_real, listed, made_up

_ONES = listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = listed("twenty thirty forty fifty sixty seventy eighty ninety")


def number_words(number: int) -> str:
    """Args: number: 0 to 999."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")
    hundreds, rest = divmod(number, 100)
    return f"{_ONES[hundreds]} hundred" + (f" {number_words(rest)}" if rest else "")


def next_letters(word: str) -> str:
    return "".join("a" if letter == "z" else chr(ord(letter) + 1) for letter in word)


def _on_words(name: str, summary: str, answer: Callable[[str], str]) -> Task:
    def draw(rng: Random) -> Example:
        word = any_word(rng)
        return Example(word, answer(word))

    return Task(name, summary, draw, held_out=is_real)


def _add(rng: Random) -> Example:
    a, b = (rng.randrange(rng.choice((10, 100, 100))) for _ in range(2))
    return Example(f"{a}+{b}", str(a + b))


def _words(rng: Random) -> Example:
    number = rng.randrange(rng.choice((100, 1000, 1000)))
    return Example(str(number), number_words(number))


def _words_held_out(prompt: str) -> bool:
    """The words below 100 are vocabulary, which nobody can guess; how to join them to hundreds is the exam."""
    return len(prompt) == 3 and one_in_five(prompt)


def _initials(rng: Random) -> Example:
    names = [made_up(rng)[:8].title() for _ in range(rng.randint(2, 4))]
    return Example(" ".join(names), "".join(name[0] for name in names))


def _json(rng: Random) -> Example:
    prompt, fields = person(rng)
    return Example(prompt, json.dumps(fields))


def _sentiment(rng: Random) -> Example:
    return Example(*review(rng))


TASKS: tuple[Task, ...] = (
    _on_words("reverse", "reverses a word", lambda word: word[::-1]),
    _on_words("upper", "writes a word in capitals", str.upper),
    _on_words("sort", "sorts the letters of a word", lambda word: "".join(sorted(word))),
    _on_words("vowels", "counts the vowels of a word", lambda word: str(sum(letter in "aeiou" for letter in word))),
    _on_words("shift", "moves each letter one on in the alphabet", next_letters),
    Task("add", "adds two numbers below 100", _add),
    Task("words", "writes a number below 1000 in words", _words, _words_held_out),
    Task("initials", "gives the initials of a name", _initials),
    Task("json", "pulls name, age and city out of a sentence as JSON", _json),
    Task("sentiment", "labels a sentence positive, negative or neutral", _sentiment),
)

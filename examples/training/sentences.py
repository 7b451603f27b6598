"""Sentences whose content is known, because they are made from it."""

from __future__ import annotations

from random import Random

from training.words import listed

_NAMES = listed(
    "Ada Alan Alice Anna Ben Boris Carla Chen Clara Dan Dora Elena Emil Eva Felix Fatima Grace Hana Hugo Ida Ivan "
    "Jane Jonas Karl Kira Leo Lina Maria Max Mia Nina Noah Olga Omar Otto Paul Petra Ravi Rosa Sam Sara Tom Uma Vera "
    "Wei Yara Zoe"
)
_CITIES = listed(
    "Accra Athens Bergen Berlin Bogota Boston Cairo Delhi Dublin Geneva Hanoi Havana Jakarta Kyiv Lagos Lima Lisbon "
    "London Lyon Madrid Manila Milan Mumbai Munich Nairobi Oslo Paris Porto Prague Quito Riga Rome Seoul Sofia Sydney "
    "Tallinn Tokyo Toronto Turin Vienna Warsaw Zagreb Zurich"
)
_LIVES = (
    "{name} is {age} and lives in {city}.",
    "{name} from {city} is {age}.",
    "In {city} lives {name}, who is {age}.",
    "At {age}, {name} moved to {city}.",
)

_THINGS = listed(
    "film book soup hotel room music garden coffee bread show phone game lesson train view bed staff service story "
    "song dinner museum beach car"
)
_OPINIONS = {
    "positive": listed("good great lovely superb perfect delightful excellent wonderful charming fantastic"),
    "negative": listed("bad awful dirty broken terrible dreadful boring horrible rude disgusting"),
    "neutral": listed("small large red old round open local quiet green average"),
}
_SAYS = (
    "the {thing} was {word}",
    "the {thing} is really {word}",
    "what a {word} {thing}",
    "we found the {thing} {word}",
    "a {word} {thing} and a {same} {other}",
    "everyone said that the {thing} was {word}",
)


def person(rng: Random) -> tuple[str, dict[str, str | int]]:
    """A sentence about somebody, and the facts in it."""
    fields: dict[str, str | int] = {
        "name": rng.choice(_NAMES),
        "age": rng.randint(18, 90),
        "city": rng.choice(_CITIES),
    }
    return rng.choice(_LIVES).format(**fields), fields


def review(rng: Random) -> tuple[str, str]:
    """A sentence about something, and its sentiment: one of "positive", "negative", "neutral"."""
    label = rng.choice(list(_OPINIONS))
    word, same = rng.sample(_OPINIONS[label], 2)
    thing, other = rng.sample(_THINGS, 2)
    return rng.choice(_SAYS).format(thing=thing, other=other, word=word, same=same), label

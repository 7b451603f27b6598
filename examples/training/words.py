"""Words: the real ones are the exam, made-up ones are what training sees."""

from __future__ import annotations

from random import Random


def listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


SHORTEST, LONGEST = 3, 10

# Held out from everything: the first time the model meets one of these is when it is asked about it.
_COMMON = listed(
    """
    able acorn actor alarm album amber anchor angle ankle apple apron arrow autumn badge baker bamboo banana barn
    basket beach bench berry bishop blanket blossom boat border bottle branch bread breeze brick bridge bronze brush
    bucket butter button cabin cactus camel candle canvas carbon carpet castle cedar chain chalk cherry chimney
    circle clay cliff clock cloud clover coast cobalt coffee copper coral corner cotton cradle crane crayon creek
    cricket crown crystal curtain dairy daisy dancer desert diamond dinner dolphin donkey dragon drawer eagle
    elbow elder ember engine falcon farmer feather fern fiddle field finger flame flower forest fossil fountain fox
    frost garden garlic ginger glacier glove goat granite grape guitar hammer harbor harvest helmet honey horizon
    igloo island ivory jacket jasmine jewel jungle kettle kitchen kitten ladder lagoon lantern lemon library lily
    lizard lobster magnet mango maple marble market meadow melon mirror monkey mountain museum napkin needle nickel
    nutmeg oak ocean olive onion orange orchard orchid oyster paddle panther paper parrot peach pebble pencil
    pepper piano pillow planet plum pocket pony potato prairie pumpkin puzzle quartz quilt rabbit radish raven
    ribbon river robin rocket saddle saffron salmon satchel shadow silver spider spiral spring stone summer
    sunset swallow table temple thunder ticket tiger timber tomato tulip tunnel turtle umbrella valley velvet
    village violin walnut water whale willow window winter wizard yellow zebra zipper butterfly chocolate crocodile
    dragonfly grapefruit lighthouse mushroom peppermint pineapple raspberry snowflake strawberry sunflower waterfall
    watermelon wheelbarrow woodpecker
    """
)
WORDS = tuple(word for word in _COMMON if SHORTEST <= len(word) <= LONGEST)
_REAL = frozenset(WORDS)

_ONSETS = listed("b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p ph pl pr qu r s sh sk sl sp st t th tr v w y z")
_VOWELS = listed("a e i o u a e i o ai ea ee ie oa oo ou")
_CODAS = ["", "", "", *listed("b ck d f g l ll m n nd ng nt p r rd rn s ss st t tt x z")]
# By their frequency in English text, roughly: rare letters must still be seen often enough to be learnt.
_LETTERS = "eeeeeettttaaaaooooiiiinnnnssshhhrrrdddlllcccuuummmwwffggyyppbbvvkkjjxxqqzz"


def is_real(word: str) -> bool:
    return word in _REAL


def made_up(rng: Random) -> str:
    """A word of 3 to 10 letters: half can be pronounced, half are letters at random."""
    length = rng.randint(SHORTEST, LONGEST)
    if rng.random() < 0.5:
        return "".join(rng.choice(_LETTERS) for _ in range(length))
    word = ""
    while len(word) < length:
        word += rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
    return word[:length]


def any_word(rng: Random) -> str:
    return rng.choice(WORDS) if rng.random() < 0.1 else made_up(rng)

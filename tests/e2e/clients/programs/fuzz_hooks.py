"""Schemathesis' hooks: names of models that exist, so that what lies behind a name is tried too."""

import random

import schemathesis

NAMES = ("", "base", "reverse", "sentiment", "upper", "no-such-adapter")
MOST_ANSWERS = 4
MOST_TOKENS = 64


@schemathesis.hook
def map_body(context, body):
    """Keep what was made up but for the name, and for amounts that would only take long."""
    if not isinstance(body, dict):
        return body
    dice = random.Random(repr(sorted(map(str, body))))
    if "model" in body and dice.random() < 0.8:
        body["model"] = dice.choice(NAMES)
    for name, most in (("n", MOST_ANSWERS), ("best_of", MOST_ANSWERS), ("max_tokens", MOST_TOKENS)):
        if isinstance(body.get(name), int) and body[name] > most:
            body[name] = most
    return body

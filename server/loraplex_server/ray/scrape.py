"""The metrics of all replicas as one text: each series once for each replica, told apart by a label."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from ray.exceptions import RayActorError
from starlette.types import Message

LABEL = "replica"
# In which Prometheus says how long it waits; who says nothing is taken to wait as long as Prometheus does by default.
TIMEOUT_HEADER = b"x-prometheus-scrape-timeout-seconds"
TIMEOUT_S = 10.0
# Of that time; the rest is for the way back.
_PART = 0.8
_SAMPLE = re.compile(r"(?P<name>[^{\s]+)(?:\{(?P<labels>.*)\})?(?P<value> [^{}]*)")


def patience(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """Seconds in which the replicas must have answered: a little less than whoever scrapes waits for all of it."""
    asked = TIMEOUT_S
    with contextlib.suppress(ValueError):
        asked = float(dict(headers).get(TIMEOUT_HEADER, asked))
    return _PART * (asked if math.isfinite(asked) and asked > 0 else TIMEOUT_S)


def answered(found: Sequence[tuple[str, list[Message]] | BaseException]) -> list[tuple[str, list[Message]]]:
    """The answers of the replicas that there are. One that died has no series any more, as Ray will soon know.

    Raises:
        BaseException: what went wrong in a replica, or its death where none is left.
    """
    answers = [each for each in found if not isinstance(each, BaseException)]
    for error in found:
        if isinstance(error, BaseException) and not (answers and isinstance(error, RayActorError)):
            raise error
    return answers


def merged(texts: Mapping[str, str]) -> str:
    """Texts in Prometheus' format, by replica, as one in which each family stands together, as the format wants it."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for replica, text in texts.items():
        family = ""
        for line in text.splitlines():
            if line.startswith("#"):
                family = line.split(" ", 3)[2]
                known = heads.setdefault(family, [])
                if line not in known and len(known) < 2:
                    known.append(line)
            elif line:
                samples.setdefault(family, []).append(_labelled(line, replica))
    return "".join(line + "\n" for family, head in heads.items() for line in [*head, *samples.get(family, [])])


def _labelled(line: str, replica: str) -> str:
    found = _SAMPLE.fullmatch(line)
    if found is None:
        raise ValueError(f"no sample of Prometheus' format: {line[:100]!r}")
    labels = ",".join(part for part in (f'{LABEL}="{replica}"', found["labels"]) if part)
    return f"{found['name']}{{{labels}}}{found['value']}"

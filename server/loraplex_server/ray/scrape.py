"""The metrics of all replicas as one text: each series once for each replica, told apart by a label."""

from __future__ import annotations

import re
from collections.abc import Mapping

LABEL = "replica"
_SAMPLE = re.compile(r"(?P<name>[^{\s]+)(?:\{(?P<labels>.*)\})?(?P<value> [^{}]*)")


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

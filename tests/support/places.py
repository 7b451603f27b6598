"""Which worker runs a test: those that share what is slow to make stay together, and what takes longest begins."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

# Folders whose tests share a server, an engine or checkpoints; elsewhere each file goes where there is room.
TOGETHER = ("tests/conformance/", "tests/deploy/image/", "tests/server/models/quantized/")


def place(nodeid: str) -> str:
    """Tests of one place run on one worker, in their order."""
    return next((folder for folder in TOGETHER if nodeid.startswith(folder)), nodeid.partition("::")[0])


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Place by place, those with a slow test first: what is left for the end are short tests, for any worker."""
    slow = {place(item.nodeid) for item in items if item.get_closest_marker("slow")}
    first = {name: number for number, name in enumerate(dict.fromkeys(place(item.nodeid) for item in items))}
    return sorted(items, key=lambda item: (place(item.nodeid) not in slow, first[place(item.nodeid)]))


class ByPlace(LoadScopeScheduling):
    """xdist's own, with places for scopes, in the order of the workers' lists."""

    def __init__(self, config: pytest.Config, log: object) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return place(nodeid)

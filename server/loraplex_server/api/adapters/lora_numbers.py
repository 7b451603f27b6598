"""Adapters by number, as llama.cpp's clients name them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from loraplex_server.api.errors import ApiError, bad_request
from loraplex_server.api.schemas.sampling import AdapterWeight, LoraScale

if TYPE_CHECKING:  # it knows the services, of which this is one
    from loraplex_server.api.access.visible import Visible


class LoraNumbers:
    """Each adapter keeps its number as long as this process lives, whatever is added or removed beside it.

    Each tenant's adapters are numbered by themselves: gaps would tell of others'.
    """

    def __init__(self) -> None:
        self._names: dict[tuple[str, str, bool], list[str]] = {}

    def listed(self, visible: Visible) -> list[tuple[int, str]]:
        """The adapters that there are now, with their numbers; new ones are numbered in alphabetical order."""
        caller = visible.caller
        names = self._names.setdefault((caller.tenant, caller.key_id, caller.admin), [])
        aliases = visible.aliases()
        there = [name for name in visible.names() if name not in aliases]
        known = set(names)
        names += [name for name in there if name not in known]
        present = set(there)
        return [(number, name) for number, name in enumerate(names) if name in present]

    def adapters(self, visible: Visible, scales: Sequence[LoraScale]) -> list[AdapterWeight]:
        """What a request's `lora` means; an adapter with a scale of zero adds nothing.

        Raises:
            ApiError: 404 for a number that no adapter has.
        """
        names = dict(self.listed(visible))
        for each in scales:
            if each.id not in names:
                message = f"There is no adapter with the id {str(each.id)[:40]}; GET /lora-adapters lists those that do"
                raise ApiError(404, message, param="lora", code="model_not_found", outcome="not_found")
        if len({each.id for each in scales}) < len(scales):
            raise bad_request("'lora': each id may be named once", param="lora")
        return [AdapterWeight(name=names[each.id], weight=each.scale) for each in scales if each.scale != 0.0]

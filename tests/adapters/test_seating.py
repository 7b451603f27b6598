"""Adapters take rows of the table, keep their terms beside them, and leave nothing behind."""

from __future__ import annotations

import weakref
from dataclasses import replace

import pytest
import torch

from loraplex_adapters.loading import LoadedAdapter
from loraplex_adapters.seating import Seating
from loraplex_adapters.terms import Terms, Traits
from loraplex_adapters.transfer import send
from loraplex_kernels.lora import AdapterTable, SiteShape, plan

CPU = torch.device("cpu")
SITES = 3  # the last is lm_head


def adapter(*sites: int, terms: Terms | None = None, traits: Traits | None = None) -> LoadedAdapter:
    """Of rank 2 at these sites."""
    layout = plan([SiteShape(site, 8, 8, 2, 1.0) for site in sites], 4)
    return LoadedAdapter(
        generation="g",
        layout=layout,
        transfer=send(torch.zeros(layout.nbytes, dtype=torch.uint8), CPU),
        magnitude=False,
        touches=frozenset(sites),
        terms=terms or Terms(),
        traits=traits or Traits(),
    )


@pytest.fixture
def seating() -> Seating:
    return Seating(AdapterTable(2, SITES, torch.float32, CPU))


def test_terms_are_found_as_long_as_the_adapter_sits(seating: Seating) -> None:
    terms = Terms(bias={0: torch.ones(8)})
    seating.seat("a", adapter(0, terms=terms, traits=Traits(terms=True)))
    seat = seating["a"]
    assert seat.terms() is terms
    assert seat.traits.terms
    seating.unseat("a")()
    with pytest.raises(RuntimeError, match="not in memory any more"):
        seat.terms()


def test_an_adapter_without_low_rank_sits_too(seating: Seating) -> None:
    seating.seat("ia3", adapter(traits=Traits(terms=True)))
    seating.seat("lora", adapter(1))
    assert [seating[key].low_rank for key in ("ia3", "lora")] == [False, True]
    seating.check_integrity(["ia3", "lora"])
    seating.unseat("ia3")()
    seating.unseat("lora")()
    seating.check_integrity([])


def test_the_head_is_touched_by_low_rank_or_by_a_term(seating: Seating) -> None:
    for key, loaded in {
        "no": adapter(0),
        "low rank": adapter(0, SITES - 1),
        "term": adapter(0, traits=Traits(terms=True, head=True)),
    }.items():
        seating.seat(key, loaded)
    assert [seating[key].head for key in ("no", "low rank", "term")] == [False, True, True]


def test_what_unseat_returns_lets_go_of_the_terms(seating: Seating) -> None:
    """They are views of the buffer, and would keep its memory."""
    loaded = adapter(0)
    view = loaded.buffer[:32].view(torch.float32)
    alive = weakref.ref(view)
    seating.seat("a", replace(loaded, terms=Terms(bias={0: view})))
    del loaded, view
    free = seating.unseat("a")
    assert alive() is not None
    free()
    assert alive() is None


def test_a_row_filled_behind_the_seating_is_noticed(seating: Seating) -> None:
    seating.seat("ia3", adapter(traits=Traits(terms=True)))
    seating._table.rank[seating["ia3"].slot, 0] = 3
    with pytest.raises(RuntimeError, match="rows"):
        seating.check_integrity(["ia3"])

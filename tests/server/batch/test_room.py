"""Seats for batches: in turn, never more than there are, and none lost."""

from __future__ import annotations

import asyncio

import pytest
from support.api import until

from loraplex_server.batch.room import Room


async def test_those_who_ask_first_go_first_and_no_more_fit() -> None:
    room = Room(lambda: 4)
    first = await room.take(3)
    order: list[int] = []

    async def ask(answers: int) -> None:
        seats = await room.take(answers)
        order.append(answers)
        assert room.taken <= 4
        seats.give_back()

    waiting = [asyncio.create_task(ask(answers)) for answers in (2, 1, 4)]
    await asyncio.sleep(0.1)
    assert order == []  # one seat is free, but the first in the row needs two
    first.give_back()
    first.give_back()
    await asyncio.gather(*waiting)
    assert (order, room.taken) == ([2, 1, 4], 0)


async def test_what_is_larger_than_the_room_goes_in_alone() -> None:
    room = Room(lambda: 2)
    small = await room.take(1)
    large = asyncio.create_task(room.take(10))
    await asyncio.sleep(0.1)
    assert not large.done()
    small.give_back()
    (await large).give_back()


async def test_room_that_nobody_announces_is_noticed() -> None:
    seats = 1
    room = Room(lambda: seats)
    await room.take(1)
    waiting = asyncio.create_task(room.take(1))
    await asyncio.sleep(0)
    seats = 2
    await until(waiting.done)


async def test_who_is_cancelled_as_a_seat_comes_free_takes_none() -> None:
    room = Room(lambda: 1)
    first = await room.take(1)
    waiting = asyncio.create_task(room.take(1))
    await asyncio.sleep(0.01)
    first.give_back()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert room.taken == 0

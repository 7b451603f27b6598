from __future__ import annotations

import asyncio

from loraplex_adapters.registry.turns import Turns


async def test_one_name_is_changed_by_one_at_a_time_and_others_do_not_wait() -> None:
    turns, inside, most = Turns(), 0, 0

    async def change(name: str) -> None:
        nonlocal inside, most
        async with turns.turn(name):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.005)
            inside -= 1

    await asyncio.gather(*(change("a") for _ in range(5)))
    assert most == 1
    await asyncio.gather(change("a"), change("b"))
    assert most == 2
    assert not turns._locks


async def test_who_gives_up_waiting_leaves_no_lock_behind() -> None:
    turns = Turns()
    async with turns.turn("a"):
        waiter = asyncio.create_task(turns.turn("a").__aenter__())
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
    assert not turns._locks

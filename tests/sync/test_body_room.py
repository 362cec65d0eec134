"""Room for bodies: never more than there is, in order, and nothing is lost when one gives up."""

from __future__ import annotations

import asyncio
import random

import pytest

from mainstem_sync.errors import BusyError
from mainstem_sync.http.body_room import BODIES_PER_CHILD, BodyRoom


async def test_a_child_has_its_share() -> None:
    room = BodyRoom(1000)
    async with asyncio.TaskGroup() as group:
        release = asyncio.Event()

        async def hold() -> None:
            async with room.take("a", 1):
                await release.wait()

        for _ in range(BODIES_PER_CHILD):
            group.create_task(hold())
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            async with room.take("a", 1):
                pass
        async with room.take("b", 1):
            pass
        release.set()
    async with room.take("a", 1):
        pass


async def test_a_body_larger_than_all_room_comes_alone() -> None:
    room = BodyRoom(10)
    async with room.take("a", 99):
        other = asyncio.create_task(_through(room, "b", 1))
        await asyncio.sleep(0)
        assert not other.done()
    await other


async def _through(room: BodyRoom, child: str, size: int) -> None:
    async with room.take(child, size):
        pass


@pytest.mark.parametrize("seed", range(20))
async def test_random_bodies_of_which_some_give_up(seed: int) -> None:
    rng = random.Random(seed)
    room = BodyRoom(100)
    held, begun = 0, []

    async def body(number: int, size: int) -> None:
        nonlocal held
        async with room.take(f"child-{number}", size):
            begun.append(number)
            held += size
            try:
                assert held == 0
                for _ in range(rng.randrange(5)):
                    await asyncio.sleep(0)
            finally:
                held -= size

    tasks = [asyncio.create_task(body(n, rng.randrange(1, 100))) for n in range(60)]
    gone = set()
    for number, task in enumerate(tasks):
        if rng.random() < 0.3:
            task.cancel()
            gone.add(number)
        if rng.random() < 0.5:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert begun == sorted(begun)
    assert set(range(60)) - gone <= set(begun)
    async with room.take("last", 100):
        assert held == 0

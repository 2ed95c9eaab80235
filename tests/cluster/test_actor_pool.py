"""The pool of actors: who gets a call, and what a caller hears of an actor's death."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from cluster import actor_pool as actor_pool_module
from cluster.actor_pool import ActorPool, MemberLost, PoolLost, actor_pool
from cluster.errors import GristmillError


class Refused(GristmillError):
    pass


class Worker:
    async def pid(self, seconds: float = 0.0) -> int:
        await asyncio.sleep(seconds)
        return os.getpid()

    async def die(self) -> None:
        os._exit(1)

    async def refuse(self) -> None:
        raise Refused("no such thing: give another")


def test_the_way_to_a_pool_is_picklable_and_counts_anew() -> None:
    pool: Any = pickle.loads(pickle.dumps(ActorPool(("a", "b"), "thing", 4)))
    assert (pool.names, pool.what, pool.calls_each) == (("a", "b"), "thing", 4)


@pytest.mark.parametrize("death", ["OutOfMemoryError", "NodeDiedError", "WorkerCrashedError"])
def test_however_ray_tells_of_a_death_the_member_is_lost(death: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(actor_pool_module, "PAUSE", 0.0)

    error = getattr(ray.exceptions, death)

    class Remote:
        async def remote(self, *_: Any) -> None:
            raise error("killed")

    class Dead(ActorPool):
        def _actor(self, name: str) -> Any:
            return SimpleNamespace(call=Remote())

    with pytest.raises(MemberLost, match="the worker died"):
        asyncio.run(Dead(("a",), "worker", 1).call("pid"))
    with pytest.raises(PoolLost, match="a worker does not start"):
        asyncio.run(Dead(("a",), "worker", 1).call_all("pid"))


@pytest.mark.ray
def test_calls_go_to_the_actor_with_the_fewest_under_way(ray_session: Any) -> None:
    async def scene(pool: ActorPool) -> list[int]:
        await pool.call_all("pid")
        return list(await asyncio.gather(*(pool.call("pid", 0.5) for _ in range(6))))

    with actor_pool("pool-least", "worker", Worker, 3, 0) as pool:
        pids = asyncio.run(scene(pool))
    assert sorted(pids.count(pid) for pid in set(pids)) == [2, 2, 2]


@pytest.mark.ray
def test_no_more_calls_are_under_way_than_the_pool_takes(ray_session: Any) -> None:
    class Counting(Worker):
        under_way = most = 0

        async def pid(self, seconds: float = 0.0) -> int:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await asyncio.sleep(seconds)
            self.under_way -= 1
            return self.most

    async def scene(pool: ActorPool) -> int:
        return max(await asyncio.gather(*(pool.call("pid", 0.05) for _ in range(20))))

    with actor_pool("pool-bound", "worker", Counting, 1, 0, calls_each=4) as pool:
        assert asyncio.run(scene(pool)) == 4


@pytest.mark.ray
def test_an_actor_that_dies_under_a_call_says_so_and_comes_back(ray_session: Any) -> None:
    async def scene(pool: ActorPool) -> tuple[int, int]:
        first = await pool.call("pid")
        with pytest.raises(MemberLost, match="the worker died"):
            await pool.call("die")
        for _ in range(100):
            try:
                return first, await pool.call("pid")
            except MemberLost:
                await asyncio.sleep(0.2)
        raise AssertionError("the actor did not come back")

    with actor_pool("pool-death", "worker", Worker, 1, 0) as pool:
        before, after = asyncio.run(scene(pool))
    assert before != after


@pytest.mark.ray
def test_an_actor_that_has_just_died_gets_no_call_while_there_is_another(ray_session: Any) -> None:
    async def scene(pool: ActorPool) -> list[int]:
        await pool.call_all("pid")
        with pytest.raises(MemberLost):
            await pool.call("die")
        return [await pool.call("pid") for _ in range(5)]

    with actor_pool("pool-other", "worker", Worker, 2, 0) as pool:
        assert len(set(asyncio.run(scene(pool)))) == 1


@pytest.mark.ray
def test_what_every_actor_has_to_answer_is_asked_again_of_one_that_died_under_it(ray_session: Any) -> None:
    async def scene(pool: ActorPool) -> tuple[list[int], list[int]]:
        before = await pool.call_all("pid")
        asked = asyncio.ensure_future(pool.call_all("pid", 2.0))
        await asyncio.sleep(1)
        os.kill(before[0], signal.SIGKILL)
        return before, await asked

    with actor_pool("pool-insists", "worker", Worker, 2, 0) as pool:
        before, after = asyncio.run(scene(pool))
    assert after[0] != before[0] and after[1] == before[1]


@pytest.mark.ray
def test_an_error_for_a_person_comes_out_as_itself(ray_session: Any) -> None:
    with actor_pool("pool-error", "worker", Worker, 1, 0) as pool, pytest.raises(Refused, match="give another"):
        asyncio.run(pool.call("refuse"))


@pytest.mark.ray
def test_a_pool_that_is_over_says_so(ray_session: Any) -> None:
    with actor_pool("pool-over", "worker", Worker, 1, 0) as pool:
        asyncio.run(pool.call("pid"))
    with pytest.raises((PoolLost, MemberLost)):
        asyncio.run(pool.call("pid"))

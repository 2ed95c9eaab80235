"""Several named, restartable actors around equal objects, and the way to the one with the least to do.

A call whose actor dies is not made again by itself: the caller is told (`MemberLost`) and decides, since the call may
be what killed it. Actors are restarted a bounded number of times, each time after a pause.
"""

from __future__ import annotations

import asyncio
import itertools
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cloudpickle

from cluster.errors import GristmillError, Halt

RESTARTS = 1000
SOON = 10.0  # seconds in which an actor that died gets no call while there is another
PAUSE = 1.0  # seconds before a restarted actor makes its object, and before it is asked again
TRIES = 10  # of what every actor has to answer


def _deaths() -> tuple[type[Exception], ...]:
    """How Ray tells that an actor, its process or its node died under a call, or what it had answered with them."""
    from ray import exceptions as told

    return (
        told.RayActorError,
        told.OutOfMemoryError,  # Ray's own watch over memory ended it
        told.NodeDiedError,
        told.WorkerCrashedError,
        told.ObjectLostError,
    )


class MemberLost(Exception):
    """The actor died, or was dead, before it answered this call."""


class PoolLost(Halt):
    """No actor of the pool answers any more."""


class _Member:
    """The actor: makes the object when it starts, and again when it is restarted."""

    def __init__(self, make: bytes) -> None:
        import ray

        if ray.get_runtime_context().was_current_actor_reconstructed:
            time.sleep(PAUSE)
        self.object = pickle.loads(make)()

    async def call(self, method: str, *arguments: Any) -> Any:
        return await getattr(self.object, method)(*arguments)


class ActorPool:
    """The way to the actors, by their names; picklable. `what` is what an actor is called in messages.

    Each process that uses it counts its own calls, `calls_each` at most under way to one actor, and gives the next
    call to the actor with the fewest; further calls wait here.
    """

    def __init__(self, names: tuple[str, ...], what: str, calls_each: int) -> None:
        self.names, self.what, self.calls_each = names, what, calls_each
        self._under_way = dict.fromkeys(names, 0)
        self._lost_at: dict[str, float] = {}
        self._turn = itertools.count()
        self._places: asyncio.Semaphore | None = None

    def __reduce__(self) -> Any:
        return ActorPool, (self.names, self.what, self.calls_each)

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a coroutine method of one of the objects.

        Raises MemberLost where the actor dies under the call, PoolLost where there is none any more, and what the
        method raises.
        """
        import ray

        if self._places is None:
            self._places = asyncio.Semaphore(self.calls_each * len(self.names))
        async with self._places:
            name = self._least_busy()
            self._under_way[name] += 1
            try:
                return await self._actor(name).call.remote(method, *arguments)
            except _deaths() as error:
                self._lost_at[name] = time.monotonic()
                raise MemberLost(f"the {self.what} died ({str(error).strip().splitlines()[0]})") from error
            except ray.exceptions.RayTaskError as error:
                cause = error.cause
                raise (cause if isinstance(cause, GristmillError) else error) from None
            finally:
                self._under_way[name] -= 1

    async def call_all(self, method: str, *arguments: Any) -> list[Any]:
        """Call the method on every object; on one whose actor dies under it again, once that is back.

        Raises PoolLost where one does not come back, and what the method raises.
        """
        return list(await asyncio.gather(*(self._insist(name, method, *arguments) for name in self.names)))

    async def _insist(self, name: str, method: str, *arguments: Any) -> Any:
        import ray

        for left in reversed(range(TRIES)):
            try:
                return await self._actor(name).call.remote(method, *arguments)
            except _deaths() as error:
                if not left:
                    reason = str(error).strip().splitlines()[0]
                    raise PoolLost(f"a {self.what} does not start: {reason}") from error
                await asyncio.sleep(PAUSE)
            except ray.exceptions.RayTaskError as error:
                cause = error.cause
                raise (cause if isinstance(cause, GristmillError) else error) from None
        raise AssertionError("unreachable")

    def _least_busy(self) -> str:
        """One that has not just been lost, if there is one; among equals, in turn."""
        now, turn = time.monotonic(), next(self._turn)
        order = self.names[turn % len(self.names) :] + self.names[: turn % len(self.names)]
        return min(order, key=lambda name: (now - self._lost_at.get(name, -SOON) < SOON, self._under_way[name]))

    def _actor(self, name: str) -> Any:
        import ray

        try:
            return ray.get_actor(name)
        except ValueError as error:
            raise PoolLost(f"a {self.what} is gone for good; run the same command again to continue") from error


@contextmanager
def actor_pool(
    name: str, what: str, make: Callable[[], Any], size: int, cpus: float, calls_each: int = 16
) -> Iterator[ActorPool]:
    """`size` actors around what `make` returns, spread over the nodes, while the block lasts."""
    import ray

    actor = ray.remote(
        num_cpus=cpus,
        max_restarts=RESTARTS,
        max_task_retries=0,
        max_concurrency=1000,
        scheduling_strategy="SPREAD",
    )(_Member)
    made = cloudpickle.dumps(make)
    names = tuple(f"{name}-{number}" for number in range(size))
    handles = [actor.options(name=each).remote(made) for each in names]
    try:
        yield ActorPool(names, what, calls_each)
    finally:
        for handle in handles:
            ray.kill(handle)

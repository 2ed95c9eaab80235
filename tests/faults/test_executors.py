"""Executors that are killed while many programs wait for them: none is lost, and none gets another's outcome."""

from __future__ import annotations

import asyncio
import random
import shutil
from typing import Any

import pytest

from actors.program_executor import Executors, ProgramExecutor
from actors.sandboxes.choice import SandboxChoice
from cluster.actor_pool import ActorPool, MemberLost, actor_pool

pytestmark = [
    pytest.mark.component,
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]
CALLERS, PROGRAMS, KILLS = 32, 20, 4


class CountingPool(ActorPool):
    """Counts the programs that lost their executor under them."""

    lost = 0

    async def call(self, method: str, *arguments: Any) -> Any:
        try:
            return await super().call(method, *arguments)
        except MemberLost:
            self.lost += method.startswith("execute")
            raise

    @classmethod
    def over(cls, pool: ActorPool) -> CountingPool:
        return cls(pool.names, pool.what, pool.calls_each)


def test_every_program_ends_with_its_own_outcome_whoever_is_killed(ray_session: Any) -> None:
    import ray

    async def caller(number: int, executors: Executors) -> None:
        for turn in range(PROGRAMS):
            name = f"{number}-{turn}"
            program = f"import time\ndef transform(grid):\n    time.sleep(0.02)\n    return [grid, {name!r}]\n"
            execution = await executors.execute(program, "transform", [[[number]], [[turn]]])
            assert [outcome.value for outcome in execution.outcomes] == [[[[number]], name], [[[turn]], name]]

    async def killer(names: tuple[str, ...]) -> None:
        dice = random.Random(7)
        for _ in range(KILLS):
            await asyncio.sleep(1.5)
            ray.kill(ray.get_actor(dice.choice(names)), no_restart=False)

    async def scene(executors: Executors) -> None:
        await executors.pool.call_all("prove")
        await asyncio.gather(killer(executors.pool.names), *(caller(number, executors) for number in range(CALLERS)))

    choice = SandboxChoice("bubblewrap")

    # Sandboxes are replaced all the while too.
    def made() -> ProgramExecutor:
        return ProgramExecutor(choice, recycle_after=25)

    with actor_pool("killed-executors", "program executor", made, 2, 0) as pool:
        counting = CountingPool.over(pool)
        asyncio.run(scene(Executors(counting)))
    assert counting.lost > 0


def test_programs_that_were_sent_together_do_not_suffer_for_each_other(ray_session: Any) -> None:
    import ray

    async def scene(executors: Executors) -> None:
        await executors.pool.call_all("prove")
        programs = [f"import time\ndef transform(x):\n    time.sleep(0.3)\n    return [x, {n}]\n" for n in range(16)]
        call = asyncio.ensure_future(executors.execute_all(programs, "transform", [[n] for n in range(16)]))
        await asyncio.sleep(1)
        for name in executors.pool.names:
            ray.kill(ray.get_actor(name), no_restart=False)
        found = await call
        assert [execution.outcomes[0].value for execution in found] == [[n, n] for n in range(16)]

    choice = SandboxChoice("bubblewrap")
    with actor_pool("killed-batches", "program executor", lambda: ProgramExecutor(choice), 2, 0) as pool:
        counting = CountingPool.over(pool)
        asyncio.run(scene(Executors(counting)))
    assert counting.lost > 0

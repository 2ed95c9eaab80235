"""The long run in short: ordinary programs among hostile ones, through the actors, and nothing that grows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.program_executor import Executors, ProgramExecutor
from actors.sandboxes.choice import SandboxChoice
from benchmarks.mixed_programs import Mixture
from cluster.actor_pool import actor_pool

pytestmark = pytest.mark.component


def test_every_ordinary_program_is_right_and_nothing_grows(bubblewrap_works: None, ray_session: Any) -> None:
    async def scene(executors: Executors) -> tuple[Mixture, list[dict[str, float]]]:
        await executors.pool.call_all("prove")
        mixture = Mixture(executors, hostile=0.05)
        return mixture, [row async for row in mixture.run(1500, every=500, under_way=8)]

    choice = SandboxChoice("bubblewrap")
    with actor_pool("mixture", "program executor", lambda: ProgramExecutor(choice), 2, 0) as pool:
        mixture, rows = asyncio.run(scene(Executors(pool)))
    assert mixture.wrong == [] and mixture.right == mixture.ordinary > 1300
    first, last = rows[0], rows[-1]
    assert last["descriptors"] <= first["descriptors"] + 4  # Ray's own come and go
    assert last["threads"] <= first["threads"] + 4
    assert 4 <= last["processes"] <= 6  # of each sandbox the box, the server, and the child that waits
    assert 0 < last["servers MiB"] < first["servers MiB"] + 10
    assert 0 < last["hosts MiB"] < first["hosts MiB"] + 30

"""An object that all workers share: it is called from anywhere, outlives deaths, and its end is told in plain words."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from cluster.errors import GristmillError
from cluster.shared import Shared, SharedLost, share

cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = pytest.mark.ray


class Counter:
    """Keeps its count in a file, as an object has to that outlives its actor."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def put(self, name: str) -> int:
        (self.path / name).touch()
        return len(list(self.path.iterdir()))

    def pid(self) -> int:
        return os.getpid()

    def die(self, marker: str) -> str:
        if not (self.path / marker).exists():
            (self.path / marker).touch()
            os._exit(1)
        return "back"

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def fail(self, is_ours: bool) -> None:
        raise GristmillError("the disk is full; free space") if is_ours else KeyError("odd")


@pytest.fixture
def shared(ray_session: Any, tmp_path: Path) -> Any:
    place = str(tmp_path)
    return share(f"counter-{uuid.uuid4().hex}", "counter", lambda: Counter(place))


def test_workers_reach_it_by_its_name(shared: Any) -> None:
    import ray

    counter, _ = shared
    assert pickle.loads(pickle.dumps(counter)) == counter

    @ray.remote(num_cpus=0.1)
    def work(counter: Shared, name: str) -> int:
        async def calls() -> int:
            await asyncio.gather(*(counter.call("put", f"{name}-{number}") for number in range(10)))
            return await counter.call("pid")  # type: ignore[no-any-return]

        return asyncio.run(calls())

    pids = set(ray.get([work.remote(counter, f"worker{number}") for number in range(3)]))
    assert pids == {counter.ask("pid")}
    assert counter.ask("put", "last") == 31


def test_a_call_that_its_death_interrupts_is_made_again(shared: Any) -> None:
    counter, _ = shared
    before = counter.ask("pid")
    assert counter.ask("die", "first") == "back"
    assert asyncio.run(counter.call("die", "second")) == "back"
    assert counter.ask("pid") != before


def test_killed_from_outside_it_is_back_for_the_next_call(shared: Any) -> None:
    import ray

    counter, handle = shared
    for number in range(3):
        assert counter.ask("put", f"{number}") == number + 1
        ray.kill(handle, no_restart=False)
    assert counter.ask("put", "3") == 4


def test_when_it_is_gone_that_is_said_with_the_way_out(shared: Any) -> None:
    import ray

    counter, handle = shared
    counter.ask("pid")
    ray.kill(handle)
    for call in (lambda: counter.ask("pid"), lambda: asyncio.run(counter.call("pid"))):
        with pytest.raises(SharedLost, match=r"the counter is gone \(.*\); run the same command again") as raised:
            call()
        assert "\n" not in str(raised.value)


def test_it_lives_as_long_as_its_handle(ray_session: Any, tmp_path: Path) -> None:
    place = str(tmp_path)
    counter, handle = share(f"counter-{uuid.uuid4().hex}", "counter", lambda: Counter(place))
    counter.ask("pid")
    del handle
    with pytest.raises(SharedLost):
        for _ in range(300):
            counter.ask("pid")
            time.sleep(0.1)


def test_its_own_errors_come_as_they_are(shared: Any) -> None:
    counter, _ = shared
    for call in (lambda: counter.ask("fail", True), lambda: asyncio.run(counter.call("fail", True))):
        with pytest.raises(GristmillError) as raised:
            call()
        assert str(raised.value) == "the disk is full; free space" and type(raised.value) is GristmillError
    with pytest.raises(KeyError):
        counter.ask("fail", False)


def test_an_object_that_cannot_be_made_is_lost_at_once(ray_session: Any) -> None:
    def make() -> None:
        raise GristmillError("no such place")

    counter, handle = share(f"counter-{uuid.uuid4().hex}", "counter", make)
    with pytest.raises(SharedLost, match=r"the counter is gone \(.*no such place\); run the same command again"):
        counter.ask("pid", seconds=60)
    del handle


def test_who_asks_does_not_wait_longer_than_it_wants(shared: Any) -> None:
    counter, _ = shared
    counter.ask("pid")
    assert counter.ask("sleep", 5.0, seconds=0.2) is None

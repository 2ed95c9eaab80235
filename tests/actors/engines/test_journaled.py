"""The journal under an engine: nothing is asked twice, by anybody, and what was answered is found."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.engines.contract import Category, Completion, Engine, Message, Request, RequestFailed, Sampling, Usage
from actors.engines.journaled import JournaledEngine
from actors.journal import Journal
from cluster.storage import LocalStorage, Storage, open_storage

BASE = Request((Message("user", "How are you?"),), Sampling(max_new_tokens=10, reasoning_effort="low"))


class Slow(Engine):
    """Answers with the count of its calls, as soon as it may."""

    name = "slow"

    def __init__(self, model: str = "m") -> None:
        self.model, self.calls = model, 0
        self.may = asyncio.Event()
        self.may.set()
        self.error: Exception | None = None
        self.is_closed = False

    def identity(self) -> dict[str, Any]:
        return {"engine": self.name, "model": self.model}

    async def _answer(self) -> int:
        self.calls += 1
        call = self.calls
        await self.may.wait()
        await asyncio.sleep(0.01)
        assert not self.is_closed
        if self.error is not None:
            raise self.error
        return call

    async def generate(self, request: Request) -> Completion:
        return Completion(f"answer {await self._answer()}", usage=Usage(3, 4), cost=17, token_ids=(1, 2))

    async def score(self, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> list[float]:
        return [-0.1234567890123456789 * await self._answer()] * len(response_ids)

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def place(tmp_path: Path) -> Storage:
    return LocalStorage(str(tmp_path))


async def started(engine: Engine, place: Storage, run: str = "run1") -> JournaledEngine:
    journaled = JournaledEngine(engine, place, run)
    await journaled.start()
    return journaled


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


def changed(**fields: Any) -> Request:
    return msgspec.structs.replace(BASE, **fields)


def sampled(**fields: Any) -> Request:
    return changed(sampling=msgspec.structs.replace(BASE.sampling, **fields))


def test_an_answer_is_found_again_in_this_run_and_in_others(place: Storage) -> None:
    async def work() -> None:
        engine = Slow()
        first = await started(engine, place)
        answer = await first.generate(BASE)
        assert not answer.is_reused and await first.generate(BASE) == answer
        await first.close()
        # Killed and begun again, a run finds what it has paid for, and calls it its own.
        engine = Slow()
        again = await started(engine, place)
        assert await again.generate(BASE) == answer
        await again.close()
        other = await started(engine, place, "run2")
        assert await other.generate(BASE) == msgspec.structs.replace(answer, is_reused=True)
        await other.close()
        assert engine.calls == 0

    run(work())


def test_the_same_question_is_asked_once_at_a_time(place: Storage) -> None:
    async def work() -> None:
        engine = Slow()
        journaled = await started(engine, place)
        answers = await asyncio.gather(*(journaled.generate(BASE) for _ in range(50)))
        assert engine.calls == 1 and len({each.text for each in answers}) == 1
        await journaled.close()

    run(work())


def test_a_slow_journal_lets_nobody_ask_twice(place: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an object store a lookup may end long after what it looks for came, and has not seen it."""
    lookup, pauses = Journal.lookup, iter([0.0, 0.1, 0.1, 0.1, 0.0])

    async def late(self: Journal, key: bytes) -> Any:
        found = await lookup(self, key)
        await asyncio.sleep(next(pauses))
        return found

    monkeypatch.setattr(Journal, "lookup", late)

    async def work() -> None:
        engine = Slow()
        journaled = await started(engine, place)
        await asyncio.gather(*(journaled.generate(BASE) for _ in range(4)))
        assert engine.calls == 1
        await journaled.close()

    run(work())


def test_what_goes_wrong_is_told_to_all_and_is_not_kept(place: Storage) -> None:
    async def work() -> None:
        engine = Slow()
        engine.error = RequestFailed(Category.TIMEOUT, "no answer")
        journaled = await started(engine, place)
        told = await asyncio.gather(*(journaled.generate(BASE) for _ in range(5)), return_exceptions=True)
        assert all(isinstance(each, RequestFailed) and each.category == Category.TIMEOUT for each in told)
        assert engine.calls == 1
        engine.error = None
        assert (await journaled.generate(BASE)).text == "answer 2"
        await journaled.close()

    run(work())


@pytest.mark.parametrize("given_up", [0, 1])
def test_who_gives_up_takes_the_answer_from_nobody(place: Storage, given_up: int) -> None:
    async def work() -> None:
        engine = Slow()
        engine.may.clear()
        journaled = await started(engine, place)
        both = [asyncio.ensure_future(journaled.generate(BASE)) for _ in range(2)]
        await asyncio.sleep(0.05)
        both[given_up].cancel()
        await asyncio.sleep(0)
        engine.may.set()
        assert (await both[1 - given_up]).text == "answer 1" and engine.calls == 1
        with pytest.raises(asyncio.CancelledError):
            await both[given_up]
        await journaled.close()

    run(work())


def test_an_answer_that_nobody_waits_for_is_kept_before_all_is_closed(place: Storage) -> None:
    async def work() -> None:
        engine = Slow()
        engine.may.clear()
        journaled = await started(engine, place)
        alone = asyncio.ensure_future(journaled.generate(BASE))
        await asyncio.sleep(0.05)
        alone.cancel()
        asyncio.get_running_loop().call_later(0.1, engine.may.set)
        await journaled.close()
        again = await started(unasked := Slow(), place)
        assert (await again.generate(BASE)).text == "answer 1" and unasked.calls == 0
        await again.close()

    run(work())


DIFFERENT = {
    "messages": changed(messages=(Message("user", "How are you"),)),
    "role": changed(messages=(Message("system", "How are you?"),)),
    "schema": changed(schema={"type": "object"}),
    "sample": changed(sample=1),
    "effort": sampled(reasoning_effort="high"),
    "tier": sampled(service_tier="flex"),
    "temperature": sampled(temperature=0.0),
    "top_p": sampled(top_p=0.5),
    "seed": sampled(seed=1),
    "stop": sampled(stop=("x",)),
    "length": sampled(max_new_tokens=11),
}


def test_another_question_is_asked_anew(place: Storage) -> None:
    async def work() -> None:
        engine = Slow()
        journaled = await started(engine, place)
        for request in (BASE, *DIFFERENT.values(), *DIFFERENT.values(), BASE):
            await journaled.generate(request)
        assert engine.calls == 1 + len(DIFFERENT)
        await journaled.close()
        other = await started(model := Slow("another model"), place)
        await other.generate(BASE)
        assert model.calls == 1
        await other.close()

    run(work())


def test_scores_are_kept_to_the_last_digit(place: Storage) -> None:
    async def work() -> None:
        engine = Slow()
        journaled = await started(engine, place)
        scores = await journaled.score([1, 2], [3])
        assert scores == await journaled.score((1, 2), (3,)) == [-0.1234567890123456789]
        for prompt, response in (([1], [2, 3]), ([1, 2, 3], [3]), ([1, 2], [4])):
            await journaled.score(prompt, response)
        assert engine.calls == 4
        assert (await journaled.generate(Request(()))).text == "answer 5"
        await journaled.close()
        again = await started(Slow(), place, "run2")
        assert await again.score([1, 2], [3]) == scores
        await again.close()
        other = await started(model := Slow("another model"), place)
        await other.score([1, 2], [3])
        assert model.calls == 1
        await other.close()

    run(work())


def test_an_object_store_keeps_it_too(s3_server: str, s3_bucket: str) -> None:
    async def work() -> None:
        place, engine = open_storage(f"s3://{s3_bucket}/journal", s3_server), Slow()
        for name in ("run1", "run2"):
            journaled = await started(engine, place, name)
            answers = await asyncio.gather(*(journaled.generate(BASE) for _ in range(5)))
            assert {each.is_reused for each in answers} == {name == "run2"}
            await journaled.close()
            engine.is_closed = False
        assert engine.calls == 1

    run(work())

"""The lines of a replica, with models that count what they are asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from serve.batcher import SLICE_BYTES, SLICE_TEXTS, Batcher, Overloaded, cost_of
from tests.serve.conftest import run


class Lengths:
    """Outputs the length of every text, at a speed of its own."""

    def __init__(self, characters_per_second: float = 1e9) -> None:
        self.speed = characters_per_second
        self.batches: list[list[str]] = []

    def outputs(self, texts: Sequence[str], normalize: bool = True) -> Any:
        self.batches.append(list(texts))
        if "fails" in texts:
            raise ValueError("it fails")
        time.sleep(sum(map(len, texts)) / self.speed)
        return np.array([[len(text)] for text in texts], np.float32)


def lengths(outputs: Any) -> list[int]:
    return [int(value) for value in outputs[:, 0]]


def test_every_text_gets_its_own_output():
    async def work() -> None:
        batcher, model = Batcher(1), Lengths()
        requests = [["x" * (n * k % 97) for n in range(k % 700 + 1)] for k in range(0, 4000, 37)]
        answers = await asyncio.gather(*(batcher.outputs(model, texts) for texts in requests))  # type: ignore[arg-type]
        for texts, (outputs, waited) in zip(requests, answers, strict=True):
            assert lengths(outputs) == [len(text) for text in texts]
            assert waited >= 0
        assert max(map(len, model.batches)) <= SLICE_TEXTS
        assert batcher.in_line == 0

    run(work())


def test_small_requests_are_answered_together_and_never_with_another_model():
    async def work() -> None:
        batcher, one, other = Batcher(1), Lengths(), Lengths()
        await asyncio.gather(*(batcher.outputs(one if n < 60 else other, [f"{n}"]) for n in range(100)))  # type: ignore[arg-type]
        assert [len(batch) for batch in one.batches] == [60]
        assert [len(batch) for batch in other.batches] == [40]

    run(work())


def test_texts_that_are_normalized_and_those_that_are_not_are_kept_apart():
    async def work() -> None:
        batcher, model = Batcher(1), Lengths()
        await asyncio.gather(*(batcher.outputs(model, [str(n)], n % 2 == 0) for n in range(4)))  # type: ignore[arg-type]
        assert model.batches == [["0"], ["1"], ["2"], ["3"]]

    run(work())


def test_a_small_request_does_not_wait_for_large_ones_and_streams():
    async def work() -> None:
        batcher, model = Batcher(60), Lengths()
        large = [batcher.outputs(model, ["x" * 1000] * 2000) for _ in range(3)]  # type: ignore[arg-type]
        streams = [batcher.outputs(model, ["y" * 1000] * 200, stream=True) for _ in range(3)]  # type: ignore[arg-type]
        others = [asyncio.create_task(each) for each in (*large, *streams)]
        await asyncio.sleep(0)
        before = len(model.batches)
        await batcher.outputs(model, ["small"])  # type: ignore[arg-type]
        assert len(model.batches) - before <= 4
        assert not any(task.done() for task in others[:3])
        await asyncio.gather(*others)

    run(work())


def test_large_requests_are_served_in_the_order_in_which_they_came():
    async def work() -> None:
        batcher, model = Batcher(60), Lengths()
        order: list[int] = []

        async def one(number: int) -> None:
            await batcher.outputs(model, ["x" * 1000] * 500)  # type: ignore[arg-type]
            order.append(number)

        await asyncio.gather(*(one(number) for number in range(5)))
        assert order == [0, 1, 2, 3, 4]

    run(work())


def test_what_would_wait_too_long_is_refused_and_the_estimate_is_of_the_speed_that_was_measured():
    async def work() -> None:
        batcher, model = Batcher(0.05), Lengths(characters_per_second=2e6)
        texts = ["x" * 1000] * 300  # 0.15 s
        await batcher.outputs(model, texts)  # type: ignore[arg-type]
        assert batcher.speed == pytest.approx(2e6, rel=0.4)
        batcher.check_room(cost_of(texts))
        first = asyncio.create_task(batcher.outputs(model, texts))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        batcher.check_room(cost_of(texts))  # one may wait behind the one at work
        second = asyncio.create_task(batcher.outputs(model, texts))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as caught:
            batcher.check_room(cost_of(texts))
        assert 0.05 < caught.value.seconds < 0.8
        batcher.check_room(10)  # a small request has a line of its own
        await first
        await second
        batcher.check_room(cost_of(texts))

    run(work())


def test_what_fits_into_the_next_slice_is_not_refused_after_one_that_was_disturbed():
    async def work() -> None:
        batcher, model = Batcher(0.05), Lengths()
        batcher.speed = 10.0
        asked = [asyncio.create_task(batcher.outputs(model, ["x" * 400])) for _ in range(8)]  # type: ignore[arg-type]
        await asyncio.sleep(0)
        batcher.check_room(400)
        with pytest.raises(Overloaded):
            batcher.check_room(SLICE_BYTES)
        await asyncio.gather(*asked)

    run(work())


def test_an_error_of_a_model_comes_to_those_who_asked_and_to_nobody_else():
    async def work() -> None:
        batcher, model = Batcher(1), Lengths()
        bad = asyncio.create_task(batcher.outputs(model, ["x"] * (SLICE_TEXTS + 1) + ["fails"]))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="it fails"):
            await bad
        outputs, _ = await batcher.outputs(model, ["good"])  # type: ignore[arg-type]
        assert lengths(outputs) == [4]
        assert batcher.in_line == 0

    run(work())


def test_work_whose_client_has_gone_is_not_done():
    async def work() -> None:
        batcher, model = Batcher(60), Lengths()
        first = asyncio.create_task(batcher.outputs(model, ["x" * SLICE_BYTES] * 4))  # type: ignore[arg-type]
        gone = asyncio.create_task(batcher.outputs(model, ["gone" * SLICE_BYTES] * 4))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        gone.cancel()
        await first
        await asyncio.sleep(0)
        assert batcher.in_line == 0
        assert not any("gone" in text for batch in model.batches for text in batch)

    run(work())

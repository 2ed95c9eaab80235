"""What is told about a run's money: the live line, and the sum over the journal's answers."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.engines.contract import Completion, Usage
from actors.journal import Journal
from cluster.storage import open_storage
from jobs.progress import Display
from jobs.spending import _watch, live_line, spending_of


def test_the_live_line_says_how_many_how_fast_and_for_how_much() -> None:
    totals = {"answered": 12_345, "under way": 500, "spent": 123_400_000, "retries": 3}
    assert live_line(totals, 812.4) == "12,345 answers at 812/s, 500 under way, $0.1234, 3 retries"
    assert live_line({"under way": 0, "spent": 0}, 0.0) == "0 answers at 0/s, 0 under way"


class Told:
    """A limiter that shows one state after the other, and ends the watching with the last."""

    def __init__(self, *states: tuple[dict[str, int], str]) -> None:
        self.states, self.over = list(states), threading.Event()

    def ask(self, method: str, seconds: float) -> Any:
        assert method == "shown"
        if len(self.states) == 1:
            self.over.set()
        return self.states.pop(0)


def test_the_live_line_says_why_while_nothing_is_answered_or_tries_are_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jobs.spending.LOOK_EVERY", 0.01)
    state = {"under way": 0, "spent": 0}
    reason = "server error: Cannot connect to host 127.0.0.1:1"
    told = Told(
        (state, ""),
        (state | {"retries": 54}, reason),
        (state | {"retries": 55, "answered": 5}, reason),
        (state | {"retries": 55, "answered": 9}, reason),
        (state | {"retries": 56, "answered": 9}, "timeout: " + "so long " * 30),
    )
    display = Display("test")
    lines: list[str] = []
    monkeypatch.setattr(display, "aside", lines.append)
    _watch(told, display, told.over)  # type: ignore[arg-type]
    ends = [line.partition("retries")[2] for line in lines]
    assert ends[:4] == ["", f" ({reason})", f" ({reason})", ""]
    assert ends[4].startswith(" (timeout: so long") and ends[4].endswith(" …)") and len(ends[4]) <= 103


def test_what_a_run_has_spent_is_the_sum_of_its_own_answers(tmp_path: Path) -> None:
    place = open_storage(str(tmp_path))

    async def fill(run: str, *records: object) -> None:
        journal = Journal.open(place, run)
        for number, record in enumerate(records):
            await journal.put(bytes([number]) + run.encode()[:3] + bytes(12), msgspec.json.encode(record))
        await journal.close()

    answer = Completion("a", usage=Usage(100, 20, cached_tokens=40), cost=1_500)
    asyncio.run(fill("aaaaaaaaaaaa", answer, answer, [-0.5, -1.0]))  # the last are log-probabilities
    asyncio.run(fill("bbbbbbbbbbbb", Completion("b", usage=Usage(7, 1))))
    first = spending_of(place, "aaaaaaaaaaaa")
    assert (first.answers, first.prompt_tokens, first.cached_tokens, first.completion_tokens) == (2, 200, 80, 40)
    assert (first.cost, first.told()["cost_usd"]) == (3_000, 3e-6)
    # Without a price for all there is no sum.
    assert "cost_usd" not in spending_of(place, "bbbbbbbbbbbb").told()

"""The engine that searches: its answers are programs, right and wrong, and the same for the same request."""

from __future__ import annotations

import asyncio
import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

import actors.engines.search.engine as engine_module
from actors.engine_choice import EngineChoice
from actors.engines.contract import Category, Completion, EngineUnusable, Message, Request, RequestFailed, Sampling
from actors.engines.search.answers import FAULTS, NO_IDEA, write_answer
from actors.engines.search.engine import SearchEngine
from actors.synthesis.grids import is_grid
from actors.synthesis.program_text import extract_program
from actors.synthesis.prompt import TaskPrompt
from actors.synthesis.task import Pair, Task
from cluster.storage import open_storage

TURNED = Task(
    "turned",
    (Pair([[1, 2], [3, 4]], [[2, 1], [4, 3]]), Pair([[5, 6, 0]], [[0, 6, 5]]), Pair([[1, 1, 2]], [[2, 1, 1]])),
    (Pair([[7, 8], [0, 9]], [[8, 7], [9, 0]]),),
)
ODD = Task("odd", (Pair([[1]], [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),), (Pair([[2]], [[1]]),))
PROMPT = TaskPrompt.load("independent").messages(TURNED)


def answers(requests: Sequence[Request], **options: Any) -> list[Completion]:
    async def session() -> list[Completion]:
        engine = SearchEngine(**options)
        await engine.start()
        try:
            return list(await asyncio.gather(*map(engine.generate, requests)))
        finally:
            await engine.close()

    return asyncio.run(session())


def asked(count: int, messages: tuple[Message, ...] = PROMPT, **sampling: Any) -> list[Request]:
    return [Request(messages, Sampling(**sampling), sample=sample) for sample in range(count)]


def outcome(completion: Completion) -> str:
    """What becomes of a program of the engine's own, which can be trusted."""
    program = extract_program(completion.text)
    if program is None:
        return "no program"
    if "while len(grid)" in program:
        return "endless"
    scope: dict[str, Any] = {}
    exec(program, scope)
    try:
        made = scope["transform"](TURNED.test[0].input)
    except NameError:
        return "raises"
    if not is_grid(made):
        return "no grid"
    return "right" if made == TURNED.test[0].output else "wrong"


@pytest.fixture(scope="module")
def drawn() -> list[Completion]:
    return answers(asked(600, temperature=1.0))


def test_some_programs_are_right_and_some_are_wrong_and_all_differ_like_draws(drawn: list[Completion]) -> None:
    found = Counter(map(outcome, drawn))
    assert found["right"] > 60 and found["wrong"] > 60
    assert len({each.text for each in drawn}) > 30
    assert all(each.finish_reason == "stop" and each.model == "search" for each in drawn)


def test_a_few_in_a_hundred_are_broken_in_every_way(drawn: list[Completion]) -> None:
    found = Counter(map(outcome, drawn))
    assert all(found[fault] for fault in FAULTS)
    assert 6 <= sum(found[fault] for fault in FAULTS) <= 60


def test_the_same_request_has_the_same_answer_in_any_order_and_company() -> None:
    requests = asked(12, temperature=1.0, seed=5)
    there, back = answers(requests), answers(requests[::-1])[::-1]
    assert [each.text for each in there] == [each.text for each in back]
    others = answers(asked(12, temperature=1.0, seed=6))
    assert [each.text for each in there] != [each.text for each in others]


def test_without_temperature_it_is_the_best_program() -> None:
    found = answers(asked(5, temperature=0.0))
    assert {outcome(each) for each in found} == {"right"} and len({each.text for each in found}) == 1
    assert "1. Mirror the grid from left to right.\n" in found[0].text


def test_the_hotter_the_more_is_wrong(drawn: list[Completion]) -> None:
    hot = answers(asked(200, temperature=10.0))
    assert Counter(map(outcome, hot))["right"] / 200 < Counter(map(outcome, drawn))["right"] / 600


def test_a_program_in_the_conversation_is_not_given_again() -> None:
    messages, programs = PROMPT, []
    for _ in range(4):
        (completion,) = answers(asked(1, messages, temperature=0.0))
        programs.append(extract_program(completion.text))
        messages = (*messages, Message("assistant", completion.text), Message("user", "Another one."))
    assert len(set(programs)) == 4 and None not in programs


def test_a_task_without_a_rule_that_it_knows_still_has_answers() -> None:
    found = answers(asked(20, TaskPrompt.load("independent").messages(ODD), temperature=1.0))
    assert all(each.text for each in found)
    assert extract_program(write_answer([], 1, 1.0, Random(1))) == NO_IDEA


def test_an_answer_ends_at_its_limit() -> None:
    (cut,) = answers(asked(1, temperature=0.0, max_new_tokens=10))
    assert (cut.finish_reason, len(cut.text), cut.usage.completion_tokens) == ("length", 40, 10)
    (whole,) = answers(asked(1, temperature=0.0, max_new_tokens=10_000))
    assert whole.text.startswith(cut.text) and whole.finish_reason == "stop"


def test_usage_is_counted_in_characters_of_prompt_and_answer(drawn: list[Completion]) -> None:
    for completion in drawn[:5]:
        assert completion.usage.completion_tokens == -(-len(completion.text) // 4)
        assert completion.usage.prompt_tokens == -(-len(PROMPT[0].content) // 4)
        assert completion.cost is None


def test_a_task_is_searched_once_and_few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []

    class Counted(engine_module.Search):
        def run(self) -> Any:
            searched.append(len(self.inputs))
            return super().run()

    monkeypatch.setattr(engine_module, "Search", Counted)
    monkeypatch.setattr(engine_module, "REMEMBERED", 1)
    other = TaskPrompt.load("independent").messages(ODD)
    answers(asked(9, temperature=1.0))
    assert searched == [3]
    answers([*asked(3), *asked(3, other), *asked(1)])
    assert searched == [3, 3, 1, 3]


def test_what_it_cannot_answer() -> None:
    with pytest.raises(RequestFailed, match="finds none in the prompt") as failed:
        answers([Request((Message("user", "Hello"),))])
    assert failed.value.category is Category.REJECTED
    seen = (msgspec.structs.replace(PROMPT[0], images=("data:,a",)),)
    with pytest.raises(EngineUnusable, match="--images"):
        answers([Request(seen)])
    for depth in (0, 4, "2", 1.0):
        with pytest.raises(EngineUnusable, match=r"--engine-option depth"):
            SearchEngine(depth=depth)  # type: ignore[arg-type]


def test_before_and_after_its_work_it_says_so() -> None:
    async def ask(engine: SearchEngine) -> None:
        with pytest.raises(EngineUnusable, match="not started"):
            await engine.generate(Request(PROMPT))

    engine = SearchEngine()
    asyncio.run(ask(engine))
    asyncio.run(engine.close())
    assert pickle.loads(pickle.dumps(engine)).identity() == engine.identity()


def test_identity_tells_depths_apart() -> None:
    assert SearchEngine().identity() != SearchEngine(depth=1).identity()
    assert SearchEngine().identity() != SearchEngine("weak").identity()


def test_it_is_chosen_by_its_kind_and_its_answers_are_journaled(tmp_path: Path) -> None:
    choice = EngineChoice("search", "search", journal=open_storage(str(tmp_path)), run="one", options={"depth": "2"})
    assert choice.special_tokens() == frozenset()

    async def session(run: str) -> Completion:
        engine = await replace(choice, run=run).started()
        try:
            assert engine.identity()["depth"] == 2
            return await engine.generate(Request(PROMPT))
        finally:
            await engine.close()

    first, again = asyncio.run(session("one")), asyncio.run(session("two"))
    assert not first.is_reused and again.is_reused and again.text == first.text
    with pytest.raises(
        EngineUnusable, match=r"^--engine-option breadth: --engine search has no such option; there is depth$"
    ):
        asyncio.run(EngineChoice("search", "search", options={"breadth": 1}).started())

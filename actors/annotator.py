"""Annotating rows with a language model: every row gets one new object with the validated answer to a prompt.

The object has the answer's members and `_meta`: who answered, what it cost, whether the answer was in the journal
before, how the text was cut. An answer that does not meet the prompt's schema or contradicts itself is sent back with
the reason, a bounded number of times. A row without a valid answer goes to quarantine with its category and with the
answer as it came; it never disappears.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import orjson

from actors import fields
from actors.answer_check import AnswerCheck, InvalidAnswer
from actors.engine_choice import EngineChoice
from actors.engines.contract import Category, Completion, Engine, Message, Request, RequestFailed
from actors.prices import NANO
from actors.questions import Question, Questions
from actors.special_tokens import neutralize
from cluster.errors import Halt
from cluster.resources import Resources
from cluster.rows import Failure, Rows
from cluster.stage import AsyncStage

REPAIR = (
    "That answer cannot be used: {problem}\n"
    "Give the whole answer again, corrected, as one JSON object that meets the schema, and nothing besides it."
)


@dataclass(frozen=True, slots=True)
class _Answered:
    """A valid answer, and all completions that led to it."""

    value: dict[str, Any]
    completions: list[Completion]


class _Unanswered(Exception):
    """No valid answer; `completions` are those that came."""

    def __init__(self, category: Category, detail: str, completions: list[Completion]) -> None:
        super().__init__(detail)
        self.category, self.detail, self.completions = category, detail, completions


class AnnotateRows(AsyncStage):
    """Sets the field `field` of every row to the answer of `engine` to its question.

    Scores, repairs, finds in the journal and categories of failure are counted; what was spent, the journal knows.
    """

    def __init__(
        self, questions: Questions, engine: EngineChoice, field: str, resources: Resources, max_repairs: int = 2
    ) -> None:
        self.questions, self.choice, self.field = questions, engine, field
        self.max_repairs, self.resources = max_repairs, resources
        self.rows_at_once = engine.rows_at_once

    def setup(self) -> None:
        self._check = AnswerCheck(self.questions.prompt)

    async def start(self) -> None:
        self._engine: Engine = await self.choice.started()
        self.questions = replace(self.questions, special_tokens=self.choice.special_tokens())

    async def process_async(self, rows: Rows) -> Rows:
        questions = self.questions.of(rows.lines)
        results = await asyncio.gather(*(self._row(each, rows) for each in questions), return_exceptions=True)
        # Only when all are done: what is under way is paid for, and has to reach the journal.
        for error in sorted((each for each in results if isinstance(each, BaseException)), key=_halts_last):
            raise error
        return rows.settle(fields.replace(rows.lines, (self.field,), results))  # type: ignore[arg-type]

    async def _row(self, question: Question | Failure, rows: Rows) -> bytes | Failure:
        if isinstance(question, Failure):
            rows.count("failed: no question")
            return question
        try:
            answered = await self._ask(question.request)
        except _Unanswered as failed:
            self._count(failed.completions, rows)
            rows.count(f"failed: {failed.category}")
            return self._failure(failed)
        self._count(answered.completions, rows)
        self._count_answer(answered.value, question, rows)
        return orjson.dumps(answered.value | {"_meta": self._meta(answered.completions, question)})

    async def _ask(self, request: Request) -> _Answered:
        """The first valid answer."""
        completions: list[Completion] = []
        while True:
            try:
                completion = await self._engine.generate(request)
            except RequestFailed as error:
                raise _Unanswered(error.category, error.detail, completions) from error
            completions.append(completion)
            try:
                return _Answered(self._valid(completion), completions)
            except InvalidAnswer as error:
                if len(completions) > self.max_repairs:
                    raise _Unanswered(Category.INVALID, str(error), completions) from error
                request = self._repair(request, completion, str(error))
            except RequestFailed as error:
                raise _Unanswered(error.category, error.detail, completions) from error

    def _valid(self, completion: Completion) -> dict[str, Any]:
        if completion.refusal is not None or completion.finish_reason in ("content_filter", "refusal"):
            raise RequestFailed(Category.REFUSED, completion.refusal or "stopped by a content filter")
        if completion.finish_reason == "length":
            tokens = completion.usage.completion_tokens
            raise RequestFailed(Category.TRUNCATED, f"the answer was cut off after {tokens:,} tokens: --max-new-tokens")
        if not completion.text.strip():
            raise InvalidAnswer("the answer is empty")
        return self._check.check(completion.text)

    def _repair(self, request: Request, completion: Completion, problem: str) -> Request:
        """The question again, with the last answer and what is wrong with it; earlier repairs are left out.

        Each is a draw of its own: a model that says the same again would otherwise get the same question again, and
        the journal would answer it.
        """
        is_again = len(request.messages) >= 3
        asked = request.messages[:-2] if is_again else request.messages
        # What a row's text made the model say can open a turn no more than the text itself.
        said, _ = neutralize(completion.text, self.questions.special_tokens)
        told, _ = neutralize(problem, self.questions.unwanted)  # it quotes the answer
        messages = (*asked, Message("assistant", said or "(nothing)"), Message("user", REPAIR.format(problem=told)))
        return msgspec.structs.replace(request, messages=messages, sample=request.sample + is_again)

    def _failure(self, failed: _Unanswered) -> Failure:
        evidence: dict[str, Any] = {"category": str(failed.category), "prompt": self._prompt_name()}
        if failed.completions:
            last = failed.completions[-1]
            evidence |= {"answer": last.text, "_meta": self._answer_meta(failed.completions)}
        return Failure(f"{failed.category}: {failed.detail}", evidence)

    # What is told about an answer

    def _meta(self, completions: list[Completion], question: Question) -> dict[str, Any]:
        return self._answer_meta(completions) | {
            "prompt": self._prompt_name(),
            "truncated": question.truncated,
            "special_tokens_broken": question.neutralized,
        }

    def _answer_meta(self, completions: list[Completion]) -> dict[str, Any]:
        last = completions[-1]
        costs = [completion.cost for completion in completions]
        return {
            "engine": self._engine.name,
            "model": last.model or self.choice.model,
            "finish_reason": last.finish_reason,
            "prompt_tokens": sum(each.usage.prompt_tokens for each in completions),
            "completion_tokens": sum(each.usage.completion_tokens for each in completions),
            "cached": all(each.is_reused for each in completions),
            "cost_usd": None if None in costs else sum(filter(None, costs)) / NANO,
            "latency_s": round(sum(each.latency for each in completions), 4),
            "repairs": len(completions) - 1,
        }

    def _prompt_name(self) -> str:
        return f"{self.questions.prompt.name}@{self.questions.prompt.version}"

    def _count(self, completions: list[Completion], rows: Rows) -> None:
        found = sum(each.is_reused for each in completions)
        if found:
            rows.count("answers from the journal", found)
        if len(completions) > 1:
            rows.count("repairs", len(completions) - 1)

    def _count_answer(self, value: dict[str, Any], question: Question, rows: Rows) -> None:
        score = self.questions.prompt.score
        if score is not None and isinstance(value.get(score.field), int):
            rows.count(f"score {value[score.field]}")
        if question.truncated is not None:
            rows.count("truncated texts")
        if question.neutralized:
            rows.count("texts with special tokens")


def _halts_last(error: BaseException) -> bool:
    return isinstance(error, Halt)

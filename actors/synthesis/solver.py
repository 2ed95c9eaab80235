"""Solving tasks: every planned attempt becomes one attempt, whatever happens to it on the way.

A model is asked, the program in its answer is run on all inputs of the task at once, and what it returned is judged
here. What is right is known to the judge alone: neither the model nor the sandbox is told an output of a test pair, and
nothing is decided by one. A service's failure, a useless answer and a failing program are each a status of a row;
only what makes every further attempt pointless ends the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import msgspec

from actors.engine_choice import EngineChoice
from actors.engines.contract import Category, Completion, Engine, Request, RequestFailed, Sampling
from actors.prices import NANO
from actors.sandboxes.contract import DEFAULT_LIMITS, Execution, Limits
from actors.synthesis.attempt import Attempt, Status, status_of
from actors.synthesis.conversation import Conversation, Turn
from actors.synthesis.judging import Judgement, judge, predictions
from actors.synthesis.notices import notice_of
from actors.synthesis.planned_attempt import PlannedAttempt
from actors.synthesis.program_text import FUNCTION, extract_program
from actors.synthesis.prompt import Mode, TaskPrompt
from actors.synthesis.task import Task
from actors.synthesis.transduction import changed_inputs, independence_reason, static_reason
from cluster.errors import GristmillError, Halt
from cluster.resources import Resources
from cluster.rows import Rows
from cluster.shared import Shared
from cluster.stage import AsyncStage

# What a request ends as without an answer; every other category is the service's error.
_UNANSWERED: dict[Category, Status] = {
    Category.TIMEOUT: "api_timeout",
    Category.TRUNCATED: "truncated",
    Category.REFUSED: "no_code",  # the model did answer, with no
}
_PLANNED = msgspec.json.Decoder(PlannedAttempt)


class Executor(Protocol):
    """Whatever runs programs (see `actors.sandboxes.contract`)."""

    async def execute(
        self, program: str, function: str, inputs: Sequence[Any], limits: Limits = DEFAULT_LIMITS
    ) -> Execution: ...


@dataclass(frozen=True)
class Solving:
    """How tasks are solved. `dataset` and `seed` name the tasks' origin and seed the choice of programs to refine.

    With `stop_when_solved` nothing more is asked about a task in a run once a program is right on its training pairs.
    """

    dataset: str
    mode: Mode
    sampling: Sampling
    images: bool = False
    seed: int = 42
    stop_when_solved: bool = False
    limits: Limits = DEFAULT_LIMITS

    @property
    def in_series(self) -> bool:
        """Whether an attempt waits for those before it: a chunk then has to hold all of a task in a run, in order."""
        return self.mode != "independent" or self.stop_when_solved


@dataclass(frozen=True, slots=True)
class _Run:
    """A program's run: what became of the task's pairs, what is wrong with how it answers, seconds on the clock."""

    judgement: Judgement
    transductive: str | None
    seconds: float


class SolveTasks(AsyncStage):
    """Replaces planned attempts by attempts, and filters those out that are not needed any more.

    Statuses and finds in the journal are counted. Answers of a deterministic engine make equal rows however often a
    run was killed, except for the measured `cpu_ms`.
    """

    measures = True

    def __init__(
        self,
        solving: Solving,
        engine: EngineChoice,
        executor: Executor,
        resources: Resources,
        attempts: int,
        notices: Shared | None = None,
    ) -> None:
        self.solving, self.choice, self.executor = solving, engine, executor
        self.resources, self.notices = resources, notices
        # Of attempts in series one is under way at a time, and the others wait for it.
        self.rows_at_once = engine.rows_at_once * (attempts if solving.in_series else 1)

    def setup(self) -> None:
        self._prompt = TaskPrompt.load(self.solving.mode)
        self._conversation = Conversation(self._prompt, self.solving.mode, self.solving.images, self.solving.seed)
        self._sampling: dict[str, Any] = msgspec.to_builtins(self.solving.sampling)

    async def start(self) -> None:
        self._engine: Engine = await self.choice.started()

    async def process_async(self, rows: Rows) -> Rows:
        planned = [_PLANNED.decode(line) for line in rows.lines]
        series = _series(planned) if self.solving.in_series else [[each] for each in planned]
        results = await asyncio.gather(*(self._solve(each, rows) for each in series), return_exceptions=True)
        # Only when all are done: what is under way is paid for, and has to reach the journal.
        for error in sorted((each for each in results if isinstance(each, BaseException)), key=_halts_last):
            raise error
        made = [attempt for part in results for attempt in part]  # type: ignore[union-attr]
        return rows.settle([None if each is None else msgspec.json.encode(each) for each in made])

    async def _solve(self, planned: Sequence[PlannedAttempt], rows: Rows) -> list[Attempt | None]:
        """One attempt after the other, and None for those that are not needed."""
        made: list[Attempt] = []
        for each in planned:
            if self.solving.stop_when_solved and made and made[-1].train_accuracy == 1:
                rows.count("not needed", len(planned) - len(made))
                break
            made.append(await self._attempt(each, made, rows))
        return [*made, *[None] * (len(planned) - len(made))]

    async def _attempt(self, planned: PlannedAttempt, earlier: Sequence[Attempt], rows: Rows) -> Attempt:
        turn = self._conversation.turn(planned, earlier)
        ran: _Run | None = None
        try:
            completion = await self._engine.generate(
                Request(turn.messages, self.solving.sampling, sample=planned.sample)
            )
        except RequestFailed as error:
            status = _UNANSWERED.get(error.category, "api_error")
            found: dict[str, Any] = {"status": status, "error": str(error)}
            if error.category == Category.REFUSED:
                found["response"] = error.detail
        else:
            if completion.is_reused:
                rows.count("answers from the journal")
            found = _answer(completion) | _program(completion)
            if "program" in found:
                ran = await self._run(planned.task, found["program"])
                found |= _outcome(ran)
        attempt = self._row(planned, turn, found)
        rows.count(attempt.status)
        await self._tell(attempt, ran)
        return attempt

    async def _run(self, task: Task, program: str) -> _Run:
        """Run on the task's inputs, and on changed ones, which tell whether the answer depends on the input."""
        inputs = task.inputs
        changed = changed_inputs(inputs)
        execution = await self.executor.execute(program, FUNCTION, [*inputs, *changed], self.solving.limits)
        outputs = predictions(execution.outcomes)
        reason = static_reason(program, outputs[: len(inputs)]) or independence_reason(
            inputs, outputs[: len(inputs)], outputs[len(inputs) :]
        )
        seconds = sum(outcome.wall_ms for outcome in execution.outcomes) / 1000
        return _Run(judge(task, execution), reason, seconds)

    def _row(self, planned: PlannedAttempt, turn: Turn, found: dict[str, Any]) -> Attempt:
        return Attempt(
            task_id=planned.task.id,
            run=planned.run,
            attempt=planned.attempt,
            dataset=self.solving.dataset,
            model=self.choice.model,
            mode=self.solving.mode,
            parent_attempt=turn.parent,
            prompt_version=self._prompt.version,
            sampling=self._sampling,
            **found,
        )

    async def _tell(self, attempt: Attempt, ran: _Run | None) -> None:
        if self.notices is not None:
            notice = notice_of(attempt, None if ran is None else ran.seconds)
            with suppress(GristmillError):  # a lost mailbox is no reason to lose an attempt
                await self.notices.call("put", [notice])


def _series(planned: Sequence[PlannedAttempt]) -> list[list[PlannedAttempt]]:
    """Attempts at one task in one run, together. Raises ValueError where the first of them is missing."""
    series = [list(group) for _, group in groupby(planned, key=lambda each: (each.task.id, each.run))]
    for each in series:
        if [one.attempt for one in each] != list(range(1, len(each) + 1)):
            raise ValueError(f"task {each[0].task.id}, run {each[0].run}: attempts in series have to be in one chunk")
    return series


def _answer(completion: Completion) -> dict[str, Any]:
    """What an attempt keeps of an answer."""
    return {
        "finish_reason": completion.finish_reason,
        "usage": msgspec.to_builtins(completion.usage),
        "cost": None if completion.cost is None else completion.cost / NANO,
        "response": completion.text if completion.refusal is None else completion.refusal,
    }


def _program(completion: Completion) -> dict[str, Any]:
    """The program in an answer, or the status of an answer without one.

    What was cut off is not run, even where a whole program stands in it: it is not the model's answer.
    """
    if completion.refusal is not None or completion.finish_reason in ("content_filter", "refusal"):
        return {"status": "no_code"}
    if completion.finish_reason == "length":
        return {"status": "truncated"}
    if not completion.text.strip():
        return {"status": "empty_response"}
    program = extract_program(completion.text)
    return {"status": "no_code"} if program is None else {"program": program}


def _outcome(ran: _Run) -> dict[str, Any]:
    judged = ran.judgement
    return {
        "status": status_of(judged.train, judged.test),
        "train": judged.train,
        "test": judged.test,
        "predicted_train": judged.predicted_train,
        "predicted_test": judged.predicted_test,
        "transductive": ran.transductive,
    }


def _halts_last(error: BaseException) -> bool:
    return isinstance(error, Halt)

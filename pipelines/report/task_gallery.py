"""What each task's card in the report shows, made of its scores, its attempts and the task itself.

Equal predictions and equal programs are shown once, with all whom they belong to. Once pictures and programs
together have used up a budget of bytes, further tasks have only their line and their votes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from actors.synthesis.attempt import STATUSES, Attempt
from actors.synthesis.grids import Grid, pixel_accuracy, shape
from actors.synthesis.task import Pair, Task
from pipelines.program_synthesis.scores import RunScores, TaskResult
from pipelines.report.grid_svg import differing, grid_svg
from pipelines.report.numbers import count_text, plural, share_text
from pipelines.report.task_cards import (
    Guess,
    PairPictures,
    Picture,
    Program,
    Sign,
    State,
    Strip,
    TaskCard,
    TaskCards,
    Tried,
)

BUDGET = 8 << 20
LONGEST_PROGRAM = 6000
LONGEST_ID = 80
# One sign for each status, so that a strip can be read without its colours.
SIGNS = dict(zip(STATUSES, "✓○◐·tmex?…∅TE", strict=True))

Attempts = Mapping[tuple[int, str], Sequence[Attempt]]


def task_cards(scores: RunScores, attempts: Sequence[Attempt], tasks: Sequence[Task]) -> TaskCards:
    """The section on every task, in the order in which they were asked for."""
    by_task: dict[tuple[int, str], list[Attempt]] = {}
    for attempt in attempts:
        by_task.setdefault((attempt.run, attempt.task_id), []).append(attempt)
    results = list(zip(*scores.results, strict=True))
    hardest = _places([(_solved(each), sum(result.right for result in each)) for each in results])
    smallest = _places([task.size for task in tasks])
    cards, spent = [], 0
    for number, (task, of_task) in enumerate(zip(tasks, results, strict=True)):
        card = _line(task, of_task, by_task, (hardest[number], smallest[number]))
        if spent < BUDGET:
            card = _with_pictures(card, task, of_task, by_task)
            spent += _size(card)
        cards.append(card)
    total = dict.fromkeys(STATUSES, 0)
    for attempt in attempts:
        total[attempt.status] += 1
    legend = tuple(Sign(name, SIGNS[name], name.replace("_", " "), count) for name, count in total.items() if count)
    lead = (
        "Open a task to see its grids, its guesses and its programs. A dot marks a cell that is not as expected. Beside a "
        "training pair stands what the program of a first guess returned, where that is wrong."
    )
    return TaskCards("Task by task", tuple(cards), legend, lead)


_TOO_MUCH = "Its pictures are left out to keep this file small; its attempts are in the run’s directory."


def _places(keys: Sequence[object]) -> list[int]:
    """The place of each key in their order; equal keys in the order in which they came."""
    order = sorted(range(len(keys)), key=lambda number: keys[number])  # type: ignore[arg-type, return-value]
    places = [0] * len(keys)
    for place, number in enumerate(order):
        places[number] = place
    return places


def _solved(results: Sequence[TaskResult]) -> int:
    return sum(result.is_solved for result in results)


def _line(task: Task, results: Sequence[TaskResult], attempts: Attempts, places: tuple[int, int]) -> TaskCard:
    """A task's card without pictures and programs."""
    solved, runs = _solved(results), len(results)
    state: State = "solved" if solved == runs else "sometimes" if solved else "unsolved"
    times = "solved" if runs == 1 else f"solved in {solved} of {runs} runs"
    return TaskCard(
        id=_short(task.id),
        state=state,
        outcome=times if solved else "not solved",
        hardest=places[0],
        smallest=places[1],
        strips=tuple(_strip(result, attempts.get((result.run, task.id), ())) for result in results),
        guesses=tuple(_guesses(results)),
        left_out=_TOO_MUCH,
    )


def _with_pictures(card: TaskCard, task: Task, results: Sequence[TaskResult], attempts: Attempts) -> TaskCard:
    winners = _winners(task, results, attempts)
    training = tuple(_training_pair(number, pair, winners) for number, pair in enumerate(task.train))
    test = tuple(_test_pair(number, pair, task, results) for number, pair in enumerate(task.test))
    programs = tuple(_programs(task, winners))
    return replace(card, training=training, test=test, programs=programs, left_out="")


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_ID else f"{name[:LONGEST_ID]}…"


def _strip(result: TaskResult, attempts: Sequence[Attempt]) -> Strip:
    return Strip(result.run, tuple(Tried(each.status, SIGNS[each.status], _words(each)) for each in attempts))


def _words(attempt: Attempt) -> str:
    """What the pointer on an attempt tells; the sign and the colour say its status already."""
    words = f"run {attempt.run}, attempt {attempt.attempt}: {attempt.status.replace('_', ' ')}"
    return words if attempt.transductive is None else f"{words}, transductive"


def _picture(grid: Grid, name: str) -> Picture:
    return Picture(grid_svg(grid), (name, shape(grid)))


def _winners(task: Task, results: Sequence[TaskResult], attempts: Attempts) -> list[tuple[str, Attempt]]:
    """The attempts whose programs stand for the first guesses, and what each is called."""
    return [
        (f"attempt {each.attempt}" if len(results) == 1 else f"run {result.run}, attempt {each.attempt}", each)
        for result in results
        for each in attempts.get((result.run, task.id), ())
        if each.attempt == result.winner
    ]


def _training_pair(number: int, pair: Pair, winners: Sequence[tuple[str, Attempt]]) -> PairPictures:
    """One training pair: what is expected, and every distinct output of a winner that is another."""
    wrong: dict[str, tuple[Grid, list[str]]] = {}
    without = []
    for name, attempt in winners:
        grid = attempt.predicted_train[number] if number < len(attempt.predicted_train) else None
        if grid is None:
            without.append(name)
        elif grid != pair.output:
            wrong.setdefault(repr(grid), (grid, []))[1].append(name)
    pictures = [_picture(pair.input, "input"), _picture(pair.output, "expected")]
    pictures += [_guessed(grid, [f"predicted by {'; '.join(names)}"], pair.output) for grid, names in wrong.values()]
    title = f"Training pair {number + 1}" + (f": no grid from {'; '.join(without)}" if without else "")
    return PairPictures(title, tuple(pictures))


def _test_pair(number: int, pair: Pair, task: Task, results: Sequence[TaskResult]) -> PairPictures:
    """One test input: what is expected, and every distinct guess with those who made it."""
    guessed: dict[str, tuple[Grid, list[str]]] = {}
    for result in results:
        for rank, group in enumerate(result.guesses, 1):
            grid = group.grids[number]
            name = _guess_name(result.run, rank, alone=len(results) == 1)
            guessed.setdefault(repr(grid), (grid, []))[1].append(name)
    pictures = [_picture(pair.input, "input"), _picture(pair.output, "expected")]
    pictures += [_guessed(grid, names, pair.output) for grid, names in guessed.values()]
    title = "Test" if len(task.test) == 1 else f"Test {number + 1} of {len(task.test)}"
    return PairPictures(title, tuple(pictures))


def _guess_name(run: int, rank: int, alone: bool) -> str:
    guess = "first guess" if rank == 1 else "second guess"
    return guess if alone else f"run {run}, {guess}"


def _guessed(grid: Grid, names: Sequence[str], expected: Grid) -> Picture:
    if grid == expected:
        return Picture(grid_svg(grid), ("right", *names), "good")
    marks = differing(grid, expected)
    if marks is None:
        said = f"wrong: {shape(grid)}, not {shape(expected)}"
    else:
        accuracy = share_text(pixel_accuracy(grid, expected))
        said = f"{plural(int(marks.sum()), 'cell')} wrong, {accuracy} right"
    return Picture(grid_svg(grid, expected), (said, *names), "bad")


def _guesses(results: Sequence[TaskResult]) -> Iterator[Guess]:
    for result in results:
        for rank, (group, right) in enumerate(zip(result.guesses, result.guesses_right, strict=True), 1):
            yield Guess(result.run, rank, group.weight, group.attempts, right)


def _programs(task: Task, winners: Sequence[tuple[str, Attempt]]) -> Iterator[Program]:
    """The programs of the first guesses; one that stands for several runs is shown once."""
    found: dict[tuple[str, int, str | None], list[str]] = {}
    for name, attempt in winners:
        if attempt.program is not None:
            right = sum(mark.correct for mark in attempt.train)
            found.setdefault((attempt.program, right, attempt.transductive), []).append(name)
    for (program, right, reason), names in found.items():
        title = f"The program of {'; '.join(names)}: {right} of {plural(len(task.train), 'training pair')} right"
        warning = "" if reason is None else f"Held to spell the answer out: {reason}"
        yield Program(title, _cut(program), _cut(warning))


def _cut(text: str) -> str:
    left = len(text) - LONGEST_PROGRAM
    return f"{text[:LONGEST_PROGRAM]}\n… ({count_text(left)} more characters)" if left > 0 else text


def _size(card: TaskCard) -> int:
    pictures = (picture for pair in (*card.training, *card.test) for picture in pair.pictures)
    return sum(len(picture.svg) + 200 for picture in pictures) + sum(len(each.text) + 200 for each in card.programs)

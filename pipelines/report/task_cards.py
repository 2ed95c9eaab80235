"""The section of a report that shows tasks one by one: grids, guesses, programs, and what became of each attempt.

Typed data for `templates/task_cards.html.j2`, which escapes every text; only pictures made by `grid_svg` are inserted
as they are. Filtering and ordering are done by the style sheet: the page runs no script.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from actors.synthesis.grid_picture import LINE, PALETTE

State = Literal["solved", "sometimes", "unsolved"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A grid with the lines under it, the first of which is its heading; `tone` is "good" or "bad" for a guess."""

    svg: str
    lines: tuple[str, ...]
    tone: Literal["", "good", "bad"] = ""


@dataclass(frozen=True, slots=True)
class PairPictures:
    """One pair: its heading, and its grids from left to right."""

    title: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Guess:
    """One of a repeat's two guesses: its rank from 1, its weight and the attempts that voted for it."""

    run: int
    rank: int
    weight: float
    attempts: tuple[int, ...]
    is_right: bool


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt in a strip: the status, its short sign, and the words that a pointer on it shows."""

    status: str
    sign: str
    words: str


@dataclass(frozen=True, slots=True)
class Strip:
    """All attempts of one repeat, in order."""

    run: int
    tried: tuple[Tried, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A program that stands for a first guess, and what it is the program of."""

    title: str
    text: str
    warning: str = ""


@dataclass(frozen=True, slots=True)
class TaskCard:
    """One task. `hardest` and `smallest` are its places in those orders. `left_out` says why it has no pictures."""

    id: str
    state: State
    outcome: str
    hardest: int
    smallest: int
    strips: tuple[Strip, ...]
    guesses: tuple[Guess, ...]
    training: tuple[PairPictures, ...] = ()
    test: tuple[PairPictures, ...] = ()
    programs: tuple[Program, ...] = ()
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class Sign:
    """A line of the legend: how many attempts have a status."""

    status: str
    sign: str
    words: str
    count: int


@dataclass(frozen=True, slots=True)
class TaskCards:
    """All tasks, closed but for the first `opened`."""

    template: ClassVar[str] = "task_cards.html.j2"
    style: ClassVar[str] = "task_cards.css.j2"
    palette: ClassVar[tuple[str, ...]] = PALETTE
    line: ClassVar[str] = LINE
    title: str
    cards: tuple[TaskCard, ...]
    legend: tuple[Sign, ...]
    lead: str = ""
    notes: tuple[str, ...] = ()
    opened: int = 1

    def number_of(self, state: State) -> int:
        """How many tasks are in a state."""
        return sum(card.state == state for card in self.cards)

"""Voting: which two answers a task's attempts give together.

Attempts with the same predictions for all test inputs are one group; the two best groups are the two guesses that the
task allows. A prediction that is no valid grid forms no group. Nothing here knows the expected outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import orjson

from actors.synthesis.attempt import Attempt
from actors.synthesis.grids import Grid, is_grid

Method = Literal["weighted", "train-majority"]
GUESSES = 2
TRAINING_WEIGHT = 1000


@dataclass(frozen=True, slots=True)
class Ballot:
    """What voting needs of one attempt.

    `prediction` is the canonical JSON of its predicted test grids, None where one is missing or not valid.
    `train_right` of `train_pairs` training outputs are right.
    """

    attempt: int
    prediction: bytes | None
    train_right: int
    train_pairs: int
    is_transductive: bool = False

    @classmethod
    def of(cls, attempt: Attempt) -> Ballot:
        right = sum(result.correct for result in attempt.train)
        joint = joint_prediction(attempt.predicted_test)
        return cls(attempt.attempt, joint, right, len(attempt.train), attempt.transductive is not None)

    @property
    def train_accuracy(self) -> Fraction:
        """Exact, so that equal weights are equal however they were added up."""
        return Fraction(self.train_right, self.train_pairs) if self.train_pairs else Fraction(0)


@dataclass(frozen=True, slots=True)
class Group:
    """Attempts that predict the same: their weight, and their numbers in the order in which they were made."""

    prediction: bytes
    weight: float
    attempts: tuple[int, ...]

    @property
    def grids(self) -> list[Grid]:
        """The prediction for each test input."""
        found: list[Grid] = orjson.loads(self.prediction)
        return found


def joint_prediction(grids: Sequence[Any]) -> bytes | None:
    """The predictions for all test inputs as one key; None where there is none, or one of them is no valid grid."""
    return orjson.dumps(grids) if grids and all(is_grid(grid) for grid in grids) else None


def weighted(ballots: Iterable[Ballot]) -> list[Group]:
    """All groups, the heaviest first: an attempt weighs 1 + 1000 · its training accuracy. Ties by first attempt."""
    return _groups((ballot, 1 + TRAINING_WEIGHT * ballot.train_accuracy) for ballot in ballots)


def train_majority(ballots: Iterable[Ballot]) -> list[Group]:
    """Groups of those attempts alone that have the most training outputs right, one vote each. Ties by first attempt.

    The most among attempts with valid predictions: one that predicts nothing has no say in who votes.
    """
    valid = [ballot for ballot in ballots if ballot.prediction is not None]
    most = max((ballot.train_right for ballot in valid), default=0)
    return _groups((ballot, Fraction(1)) for ballot in valid if ballot.train_right == most)


VOTES = {"weighted": weighted, "train-majority": train_majority}


def without_transductive(ballots: Iterable[Ballot]) -> list[Ballot]:
    """The ballots of programs that are not held to spell the answers out."""
    return [ballot for ballot in ballots if not ballot.is_transductive]


def _groups(votes: Iterable[tuple[Ballot, Fraction]]) -> list[Group]:
    weights: dict[bytes, Fraction] = {}
    members: dict[bytes, list[int]] = {}
    for ballot, weight in sorted(votes, key=lambda vote: vote[0].attempt):
        if ballot.prediction is not None:
            weights[ballot.prediction] = weights.get(ballot.prediction, Fraction(0)) + weight
            members.setdefault(ballot.prediction, []).append(ballot.attempt)
    # Groups stand in the order of their first attempts, which a stable sort keeps among equals.
    best = sorted(weights, key=lambda prediction: -weights[prediction])
    return [Group(each, float(weights[each]), tuple(members[each])) for each in best]

"""Which earlier program is improved next: a Thompson draw between those that promise much and those tried little.

Every program is an arm of a bandit, and its chance to lead to a right one is Beta(1 + C·h, 1 + C·(1 − h) + N), with h the
part of the training outputs that it gets right and N how often it was improved before. A number is drawn from each,
and the largest wins: the rule of Tang et al. 2024, "Code Repair with LLMs gives an Exploration-Exploitation Tradeoff".
The draw depends on the seed, the task, the run and the attempt, and never on what else is under way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random

from actors.synthesis.attempt import RAN, Attempt

CONFIDENCE = 20.0  # C: how many tries the training accuracy counts for


def beta_parameters(accuracy: float, tried: int) -> tuple[float, float]:
    return 1 + CONFIDENCE * accuracy, 1 + CONFIDENCE * (1 - accuracy) + tried


def improvable(earlier: Sequence[Attempt]) -> list[Attempt]:
    """The attempts whose programs ran, also those that are right on every training pair: the answer to a test may still
    be wrong. Of equal programs, the first.
    """
    first: dict[str, Attempt] = {}
    for attempt in earlier:
        if attempt.program is not None and attempt.status in RAN:
            first.setdefault(attempt.program, attempt)
    return list(first.values())


def parent_of(earlier: Sequence[Attempt], seed: int, task_id: str, run: int, attempt: int) -> Attempt | None:
    """The attempt to improve in this one; None while there is none to improve."""
    random = Random(_hash(seed, task_id, run, attempt))
    tried = [each.parent_attempt for each in earlier]
    drawn = [
        (random.betavariate(*beta_parameters(arm.train_accuracy, tried.count(arm.attempt))), -arm.attempt, arm)
        for arm in improvable(earlier)
    ]
    return max(drawn)[-1] if drawn else None


def _hash(seed: int, task_id: str, run: int, attempt: int) -> int:
    text = f"{seed}\0{task_id}\0{run}\0{attempt}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")

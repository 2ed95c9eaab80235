"""The shape of a rubric's answer: criteria that pass or fail, each with its explanation, and their count.

The score is never stored apart from the criteria: it is the number of those that passed, always.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Criterion:
    """One pass/fail judgement; the explanation names the measurements that decided it."""

    is_pass: bool
    explanation: str


@dataclass(frozen=True, slots=True)
class Grade:
    """What a rubric says of one text; `subject` is what the text was taken for, such as "python"."""

    subject: str
    criteria: Mapping[str, Criterion]

    @property
    def score(self) -> int:
        """The number of criteria that passed."""
        return sum(criterion.is_pass for criterion in self.criteria.values())

    def to_dict(self) -> dict[str, Any]:
        """The answer as it is written into a row."""
        criteria = {
            name: {"explanation": criterion.explanation, "is_pass": criterion.is_pass}
            for name, criterion in self.criteria.items()
        }
        return {"criteria": criteria, "overall_assessment": self._assessment(), "score": self.score}

    def _assessment(self) -> str:
        failed = [name for name, criterion in self.criteria.items() if not criterion.is_pass]
        missing = f"; not met: {', '.join(failed)}" if failed else ""
        return f"{self.subject}: {self.score} of {len(self.criteria)} criteria met{missing}"

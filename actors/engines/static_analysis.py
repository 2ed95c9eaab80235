"""The embedded grader: two rubrics answered by measuring the text. No model, no network, the same answer every time.

`code_quality` grades programs, `prose_quality` English prose; each answer is a set of pass/fail criteria with the
measurements behind them, and a score that is the number of criteria met, 0 to 5. It takes any text in bounded time
and raises for none. It is not a language model and says so in every answer: it sees form, not meaning.
"""

from __future__ import annotations

import platform
from typing import Any

from actors.engines.code_quality import grade_code
from actors.engines.grade import Grade
from actors.engines.prose_quality import grade_prose

# Raise it with every change that can move a grade: grades of different versions are not comparable.
VERSION = "1"
RUBRICS = ("code_quality", "prose_quality")


class StaticAnalysis:
    """The grader for one rubric. Raises `ValueError` for a rubric it has no measurements for."""

    name = "static-analysis"

    def __init__(self, rubric: str) -> None:
        if rubric not in RUBRICS:
            known = " and ".join(RUBRICS)
            raise ValueError(f"rubric {rubric!r}: {self.name} has {known}; other rubrics need a language model")
        self.rubric = rubric

    def meta(self) -> dict[str, Any]:
        """What made the grades, for the row: the grammar decides which Python parses."""
        meta = {
            "engine": self.name,
            "engine_version": VERSION,
            "method": "measurements of the text, no language model",
            "rubric": self.rubric,
        }
        if self.rubric == "code_quality":
            major, minor, _ = platform.python_version_tuple()
            meta["grammar"] = f"Python {major}.{minor}"
        return meta

    def grade(self, text: str, is_cut: bool = False) -> Grade:
        """Grade a text; `is_cut` says that its end was cut off before it came here."""
        return grade_code(text, is_cut) if self.rubric == "code_quality" else grade_prose(text)

"""The criteria of `code_quality` for languages other than Python, from blocks and lines.

The figures are estimates (see `source_measures`), and the explanations say so; the limits are those of Python where
they mean the same.
"""

from __future__ import annotations

from actors.engines.checks import (
    Check,
    at_most,
    criterion,
    flag_checks,
    layout_checks,
    percent,
    share_at_most,
    structure_checks,
)
from actors.engines.grade import Grade
from actors.engines.line_measures import LineMeasures, measure_lines
from actors.engines.programming_language import Language
from actors.engines.source_measures import SourceMeasures, measure_source


def grade_source(text: str, language: Language, problem: str | None = None, is_cut: bool = False) -> Grade:
    """Grade a program of `language`; `problem` says why it cannot work, if that is known already."""
    found = measure_source(text, language)
    lines = measure_lines(text, language.comments)
    functional = criterion(_function(found, language, problem, is_cut))
    criteria = {
        "functional": functional,
        "no_red_flags": criterion(flag_checks(text, found.hazards)),
        "readable": criterion(_readability(found, lines)),
        "well_structured": criterion(structure_checks(lines, [each.complexity for each in found.functions])),
        "exemplary": criterion(_example(found, lines, functional.is_pass)),
    }
    return Grade(language.name, criteria)


def _function(found: SourceMeasures, language: Language, problem: str | None, is_cut: bool) -> list[Check]:
    logic = f"about {len(found.functions)} functions, {found.decisions} decisions, {found.calls} calls"
    return [
        Check(problem is None, problem or f"read as {language.name} by its lines, not parsed"),
        # Preprocessor branches and regular expressions leave a few brackets over in sound programs.
        Check(
            is_cut or found.unpaired <= max(1, 0.02 * found.brackets),
            f"{found.unpaired} of {found.brackets} brackets without a partner (at most 1, or 2 %)",
        ),
        Check(
            bool(found.functions) or found.decisions + found.calls >= 3,
            f"{logic} (at least a function, or 3 of the others)",
        ),
    ]


def _readability(found: SourceMeasures, lines: LineMeasures) -> list[Check]:
    cryptic = found.cryptic_names / max(1, found.names)
    return [
        *layout_checks(lines, [each.lines for each in found.functions]),
        # A namespace, a class and a method stand around the blocks that are counted for Python.
        at_most(found.depth, 8, f"blocks nested {found.depth} deep"),
        share_at_most(cryptic, 0.1, f"of {found.names} names one uncustomary letter"),
    ]


def _example(found: SourceMeasures, lines: LineMeasures, is_functional: bool) -> list[Check]:
    explained = sum(each.is_documented for each in found.functions) / max(1, len(found.functions))
    comments = lines.comments / max(1, lines.comments + lines.code)
    return [
        Check(is_functional, "functional" if is_functional else "not functional"),
        Check(explained >= 0.6, f"{percent(explained)} of the functions follow a comment (at least 60 %)"),
        # Above this the file is mostly licence or switched-off code.
        Check(0.05 <= comments <= 0.6, f"{percent(comments)} of the lines are comments (5 % to 60 %)"),
        Check(lines.code >= 10, f"{lines.code} lines of code (at least 10)"),
    ]

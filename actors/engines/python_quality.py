"""The criteria of `code_quality` for Python, from its syntax tree and its lines.

The limits follow PEP 8, pylint, McCabe and radon; where these are silent they were set so that the standard library
and the packages installed beside it spread over the scores instead of gathering at one.
"""

from __future__ import annotations

import ast

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
from actors.engines.python_measures import PythonMeasures, measure_python


def grade_python(text: str, module: ast.Module) -> Grade | None:
    """Grade a module that was parsed from `text`; None if it does nothing, as a lone word or a number does."""
    found = measure_python(module)
    if not (found.functions or found.classes or found.imports or found.names or found.calls):
        return None
    lines = measure_lines(text)
    functional = criterion(_function(found, lines))
    bare = [f"bare except (line {line})" for line in found.bare_handlers]
    criteria = {
        "functional": functional,
        "no_red_flags": criterion(flag_checks(text, [*found.hazards, *bare])),
        "readable": criterion(_readability(found, lines)),
        "well_structured": criterion(_structure(found, lines)),
        "exemplary": criterion(_example(found, functional.is_pass)),
    }
    return Grade("python", criteria)


def _function(found: PythonMeasures, lines: LineMeasures) -> list[Check]:
    bodies = sum(not function.is_stub for function in found.functions)
    logic = f"{bodies} functions with a body, {found.classes} classes, {found.calls} calls"
    return [
        Check(True, "parses"),
        # Without a function it takes a few calls to be more than a list of names or settings.
        Check(bodies > 0 or found.calls >= 3, f"{logic} (at least a body, or 3 calls)"),
        share_at_most(found.data_lines / max(1, lines.code), 0.5, "of the lines literal data"),
    ]


def _readability(found: PythonMeasures, lines: LineMeasures) -> list[Check]:
    depth = max((function.depth for function in found.functions), default=0)
    poor, cryptic = len(found.poor_names) / max(1, found.names), found.cryptic_names / max(1, found.names)
    return [
        *layout_checks(lines, [function.lines for function in found.functions]),
        # pylint's limit for nested blocks.
        at_most(depth, 5, f"blocks nested {depth} deep"),
        # Interfaces inherited from elsewhere (unittest, Qt, Java) bring their own spelling: not every name is a choice.
        share_at_most(poor, 0.15, f"of {found.names} names against PEP 8"),
        share_at_most(cryptic, 0.1, "of the names one uncustomary letter"),
    ]


def _structure(found: PythonMeasures, lines: LineMeasures) -> list[Check]:
    parameters = max((function.parameters for function in found.functions), default=0)
    slips = [
        (found.wildcard_imports, "wildcard import"),
        (found.mutable_defaults, "mutable default argument"),
        (found.silent_handlers, "silently ignored exception"),
    ]
    named = [f"{what} (line {places[0]})" for places, what in slips if places]
    return [
        *structure_checks(lines, [function.complexity for function in found.functions]),
        at_most(parameters, 8, f"up to {parameters} parameters"),
        Check(not named, ", ".join(named) or "no wildcard import, mutable default or ignored exception"),
    ]


def _example(found: PythonMeasures, is_functional: bool) -> list[Check]:
    docs, hints = found.docstring_coverage, found.hint_coverage
    # Much of the best Python is older than type hints: documenting all but everything stands in for them.
    hinted = f"type hints on {percent(hints)} of {found.hintable} parameters and returns"
    return [
        Check(is_functional, "functional" if is_functional else "not functional"),
        Check(
            docs >= 0.8,
            f"docstrings on {percent(docs)} of {found.documentable} public definitions (at least 80 %)",
        ),
        Check(hints >= 0.5 or docs >= 0.95, f"{hinted} (at least 50 %, or docstrings on 95 %)"),
        Check(found.statements >= 10, f"{found.statements} statements (at least 10)"),
    ]

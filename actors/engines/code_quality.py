"""The rubric `code_quality` answered by measurement: five pass/fail criteria for a program.

Python is judged by its syntax tree, other languages by their lines and blocks, and a text in which no program is
recognised meets no criterion. Every explanation names the figures that decided, with their limits. What no
measurement can see (whether the program is correct, useful or original) is not judged.
"""

from __future__ import annotations

import ast
import re
import sys
import warnings

from actors.engines.grade import Criterion, Grade
from actors.engines.programming_language import programming_language
from actors.engines.python_quality import grade_python
from actors.engines.source_quality import grade_source

CRITERIA = ("functional", "no_red_flags", "readable", "well_structured", "exemplary")

# Longer files are data or generated code in all but a few cases, and the limit bounds the time of one document.
MEASURED_LENGTH = 500_000

_DEFINITION = re.compile(r"^[ \t]*(?:async def|def|class)\b", re.MULTILINE)
_STATEMENT = re.compile(r"^[^\s#)\]}@]", re.MULTILINE)


def grade_code(text: str, is_cut: bool = False) -> Grade:
    """Grade one program; `is_cut` says that its end is missing, so that a torn last statement is forgiven."""
    text = text.removeprefix("\ufeff")
    if not text.strip():
        return _nothing("nothing", "the text is empty")
    if len(text) > MEASURED_LENGTH:
        limit = f"more than the {MEASURED_LENGTH:,} that are measured"
        return _nothing("an overlong file", f"{len(text):,} characters, {limit}: data or generated code")
    module = _parse(text, is_cut)
    if isinstance(module, ast.Module) and (grade := grade_python(text, module)):
        return grade
    language = programming_language(text)
    if language is None:
        return _nothing("no program", "no program was recognised in the text")
    problem = module if language.name == "python" and isinstance(module, str) else None
    return grade_source(text, language, problem, is_cut)


def _nothing(subject: str, reason: str) -> Grade:
    return Grade(subject, {name: Criterion(False, reason) for name in CRITERIA})


def _parse(text: str, is_cut: bool) -> ast.Module | str:
    """The module, or why there is none. Of a cut text the torn end may be left out to make it parse."""
    parsed = _parse_whole(text)
    if is_cut and isinstance(parsed, str):
        for end in (text.rfind("\n"), _last_start(text, _DEFINITION), _last_start(text, _STATEMENT)):
            if end > 0 and isinstance(shorter := _parse_whole(text[:end]), ast.Module):
                return shorter
    return parsed


def _parse_whole(text: str) -> ast.Module | str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        return f"not Python {sys.version_info[0]}.{sys.version_info[1]}{f' at line {line}' if line else ''}"
    except (RecursionError, MemoryError):
        # The parser's own limits on nesting; it does not mean that memory ran out.
        return "nested deeper than Python's parser follows"


def _last_start(text: str, opening: re.Pattern[str]) -> int:
    """Where the last line that matches `opening` starts, with the decorators above it; 0 if there is none."""
    start = max((match.start() for match in opening.finditer(text)), default=0)
    while start > 0 and text[text.rfind("\n", 0, start - 1) + 1 : start].lstrip().startswith("@"):
        start = text.rfind("\n", 0, start - 1) + 1
    return start

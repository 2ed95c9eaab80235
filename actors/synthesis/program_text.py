"""The program in a model's answer: its last ```python block, if that defines `transform`.

Fences are read as Markdown has them (backticks or tildes, indented or not, the end as long as the beginning at least),
with what models make of it: a block may lack its end, and a block of Python inside one of another kind counts. What a
model thinks before it answers does not. Nothing is executed here, and what does not parse is still a program: it fails
when it is executed, as its writer should learn.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence

FUNCTION = "transform"

_THOUGHT_ENDS = "</think>"
_FENCE = re.compile(r"(?P<indent>[ \t]*+)(?P<fence>`{3,}+|~{3,}+)[ \t]*+(?P<info>[^`]*)")
_LANGUAGES = ("python", "py", "python3")
_DEFINITION = re.compile(rf"^[ \t]*def[ \t]+{FUNCTION}\b", re.MULTILINE)
# Markdown's own measure: an end that stands further in than this is part of what it would end.
_FURTHER_IN = 3


def extract_program(text: str) -> str | None:
    """The program of an answer, None where there is none."""
    blocks = list(_python_blocks(_answer(text).replace("\r\n", "\n").split("\n")))
    return blocks[-1] if blocks and _defines_transform(blocks[-1]) else None


def _answer(text: str) -> str:
    """What follows the thoughts; all of it where nothing does."""
    answer = text.rpartition(_THOUGHT_ENDS)[2]
    return answer if answer.strip() else text


def _python_blocks(lines: Sequence[str]) -> Iterator[str]:
    opening: re.Match[str] | None = None
    block: list[str] = []
    for line in lines:
        found = _FENCE.fullmatch(line)
        if opening is None:
            if found and _is_python(found):
                opening, block = found, []
        elif found and _opens_anew(found, opening):
            yield _dedented(block, opening)
            opening, block = found, []
        elif found and _ends(found, opening):
            yield _dedented(block, opening)
            opening = None
        else:
            block.append(line)
    if opening is not None:
        yield _dedented(block, opening)


def _is_python(fence: re.Match[str]) -> bool:
    words = fence["info"].split()
    return bool(words) and words[0].lower() in _LANGUAGES


def _of_its_kind(fence: re.Match[str], opening: re.Match[str]) -> bool:
    return (
        fence["fence"][0] == opening["fence"][0]
        and len(fence["fence"]) >= len(opening["fence"])
        and len(fence["indent"].expandtabs(4)) <= len(opening["indent"].expandtabs(4)) + _FURTHER_IN
    )


def _opens_anew(fence: re.Match[str], opening: re.Match[str]) -> bool:
    """A block that begins before the one before it has ended."""
    return _of_its_kind(fence, opening) and _is_python(fence)


def _ends(fence: re.Match[str], opening: re.Match[str]) -> bool:
    return _of_its_kind(fence, opening) and not fence["info"].strip()


def _dedented(block: Sequence[str], opening: re.Match[str]) -> str:
    """The lines less the blank space in front of the fence, if the program's first line has it too."""
    blanks = [len(line) - len(line.lstrip(" \t")) for line in block]
    first = next((blank for blank, line in zip(blanks, block, strict=True) if line.strip()), 0)
    indent = min(first, len(opening["indent"]))
    return "\n".join(line[min(blank, indent) :] for blank, line in zip(blanks, block, strict=True))


def _defines_transform(program: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes, which are the model's
            body = ast.parse(program).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return _DEFINITION.search(program) is not None
    return any(map(_binds, _at_top_level(body)))


def _at_top_level(statements: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when the program is read, those under if, try and the like among them."""
    for statement in statements:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = [handler.body for handler in getattr(statement, "handlers", ())]
            inner += [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
            for block in inner:
                yield from _at_top_level(block)


def _binds(statement: ast.stmt) -> bool:
    """Whether it makes `transform` something that can be called; a coroutine is nothing that is waited for."""
    if isinstance(statement, ast.FunctionDef):
        return statement.name == FUNCTION
    targets: list[ast.expr] = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets = [statement.target]
    return any(isinstance(target, ast.Name) and target.id == FUNCTION for target in targets)

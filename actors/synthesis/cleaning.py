"""Cleaning a program for training: comments, trailing blanks and runs of blank lines go; what it computes stays.

Tokens decide, so a `#` in a string survives and so does every line of a string. A line that was but a comment goes whole. Docstrings are kept: a program can
read them, and they say what it does. What does not tokenize or parse is returned as it is, and so is a program whose
syntax tree a cleaning would change. That its outputs are the same is found out by running it, which is not done here.
"""

from __future__ import annotations

import ast
import io
import tokenize
import warnings

_LARGEST_GAP = 2  # blank lines that may follow one another, as between top-level definitions


def clean(program: str) -> str:
    """The program without comments; idempotent. Ends in one LF unless nothing is left."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes
            before = ast.dump(ast.parse(program))
            cleaned = _cleaned(program)
            return cleaned if ast.dump(ast.parse(cleaned)) == before else program
    except (SyntaxError, ValueError, tokenize.TokenError, RecursionError, MemoryError):
        return program


def _cleaned(program: str) -> str:
    text = program.replace("\r\n", "\n").replace("\r", "\n")
    source = text.split("\n")
    lines: list[str | None] = [*source]
    inside: set[int] = set()  # lines, from 0, whose end lies within a string: nothing of it may go
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        (first, start), (last, _) = token.start, token.end
        if token.type == tokenize.COMMENT:
            before = source[first - 1][:start]
            lines[first - 1] = before if before.strip() else None
        elif token.type in _STRINGS:
            inside.update(range(first - 1, last - 1))
    kept = [(number, line) for number, line in enumerate(lines) if line is not None]
    return _without_gaps([(number, line if number in inside else line.rstrip()) for number, line in kept], inside)


# From Python 3.12 on an f-string is several tokens.
_STRINGS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def _without_gaps(lines: list[tuple[int, str]], inside: set[int]) -> str:
    kept: list[str] = []
    gap = 0
    for number, line in lines:
        in_string = number in inside or number - 1 in inside
        gap = 0 if line or in_string else gap + 1
        if gap <= _LARGEST_GAP and (kept or line or in_string):
            kept.append(line)
    while kept and not kept[-1]:
        kept.pop()
    return "\n".join((*kept, "")) if kept else ""

"""A row's label as a name: what groups rows, names classes, and is printed.

A string is its own name; a number has one name whatever its spelling (1, 1.0 and 1e0 are `1`); true and false are
themselves; a list or object is its JSON. null is no label: the row goes to quarantine.
"""

from __future__ import annotations

import msgspec

from actors.expressions import Expression
from cluster.rows import Failure


def label_name(value: object, expression: str) -> str | Failure:
    """The name of one label value, or the Failure of a row that has none."""
    if isinstance(value, str):
        return value
    if value is None:
        return Failure(f"no label: {expression} gives null")
    if isinstance(value, Failure):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return msgspec.json.encode(value, order="sorted").decode()


def label_names(expression: Expression, lines: list[bytes]) -> list[str | Failure]:
    """The label names of a chunk's rows; equal values are named once."""
    names: dict[object, str | Failure] = {}
    results: list[str | Failure] = []
    for value in expression.values(lines):
        key = (type(value), value) if isinstance(value, str | int | float | bool) else None
        if key is None:
            results.append(label_name(value, expression.program))
            continue
        if key not in names:
            names[key] = label_name(value, expression.program)
        results.append(names[key])
    return results

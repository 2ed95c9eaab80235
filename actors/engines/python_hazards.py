"""Calls that a reviewer of Python would stop at: dynamic code, shells, unsafe parsers, leaks, leftovers.

Each is recognised by its spelling alone, after the lists of flake8-bandit; a name that was rebound, or a value
that happens to be safe, is not seen through.
"""

from __future__ import annotations

import ast
import re

_SHELLS = frozenset({"os.system", "os.popen", "commands.getoutput", "subprocess.getoutput"})
_UNPICKLERS = frozenset(
    {f"{m}.{f}" for m in ("pickle", "cPickle", "_pickle", "marshal", "dill") for f in ("load", "loads")}
)
_LEFTOVERS = frozenset({"pdb.set_trace", "ipdb.set_trace", "breakpoint"})
_HTTP_VERBS = frozenset({"get", "post", "put", "patch", "delete", "head", "request", "Client", "AsyncClient"})
_SQL = re.compile(r"\s*(?:select\s.+\sfrom|insert\s+into|update\s.+\sset|delete\s+from|drop\s+table)\s", re.I | re.S)
# What to look for by the last part of the called name; everything else is let through at the cost of one lookup.
_SUSPECTS = frozenset(
    {"eval", "exec", "system", "popen", "getoutput", "load", "loads", "set_trace", "breakpoint", "mktemp"}
    | {"execute", "executemany", "executescript", "read", "readlines", "write"}
)


def call_hazard(call: ast.Call) -> str | None:
    """What is wrong with a call, or None."""
    target = call.func
    if target.__class__ is ast.Name:
        last = target.id
    elif target.__class__ is ast.Attribute:
        last = target.attr
    else:
        return None
    if call.keywords:
        hazard = _keyword_hazard(call, last)
        if hazard:
            return hazard
    return _named_hazard(call, last) if last in _SUSPECTS else None


def _keyword_hazard(call: ast.Call, last: str) -> str | None:
    for keyword in call.keywords:
        value = keyword.value
        if value.__class__ is not ast.Constant:
            continue
        if keyword.arg == "shell" and value.value is True and not _is_literal(call):
            return "shell=True with a computed command"
        if keyword.arg == "verify" and value.value is False and last in _HTTP_VERBS:
            return "certificate check switched off"
    return None


def _named_hazard(call: ast.Call, last: str) -> str | None:
    target = call.func
    name = last
    if isinstance(target, ast.Attribute):
        if isinstance(target.value, ast.Name):
            name = f"{target.value.id}.{last}"
        elif last in ("read", "readlines", "write"):
            return "file opened and never closed" if _opens_file(target.value) else None
    if name in ("eval", "exec"):
        return None if _is_literal(call) else f"{name} of a computed string"
    if name in _SHELLS and not _is_literal(call):
        return "shell command from a computed string"
    if name in _UNPICKLERS:
        return f"{name} runs whatever the data says"
    if name == "yaml.load" and not _loads_safely(call):
        return "yaml.load without a safe loader"
    if name in _LEFTOVERS:
        return "debugger left in"
    if name == "tempfile.mktemp":
        return "tempfile.mktemp is open to a race"
    if last.startswith("execute") and call.args and _is_assembled_sql(call.args[0]):
        return "SQL assembled from strings"
    return None


def _is_literal(call: ast.Call) -> bool:
    """Whether everything that is run stands in the source (no argument counts as nothing to run)."""
    return not call.args or isinstance(call.args[0], ast.Constant)


def _opens_file(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open"


def _loads_safely(call: ast.Call) -> bool:
    loaders = [*call.args[1:], *(keyword.value for keyword in call.keywords if keyword.arg == "Loader")]
    names = [getattr(loader, "attr", getattr(loader, "id", "")) for loader in loaders]
    return any("Safe" in name or "Base" in name for name in names) or (bool(loaders) and not any(names))


def _is_assembled_sql(query: ast.expr) -> bool:
    if isinstance(query, ast.JoinedStr):
        has_gap = any(isinstance(part, ast.FormattedValue) for part in query.values)
        return has_gap and _opens_with_sql(query.values[0])
    if isinstance(query, ast.BinOp) and isinstance(query.op, ast.Mod | ast.Add):
        return _opens_with_sql(query.left)
    if isinstance(query, ast.Call) and isinstance(query.func, ast.Attribute) and query.func.attr == "format":
        return _opens_with_sql(query.func.value)
    return False


def _opens_with_sql(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(_SQL.match(node.value[:2000]))

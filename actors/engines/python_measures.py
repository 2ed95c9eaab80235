"""What can be measured of a Python module by its syntax tree: functions, names, hints, docstrings, hazards.

The tree is walked once, with stacks of its own instead of recursion, so that no nesting the parser accepts can
overflow it. Cyclomatic complexity is counted as radon does (decision points plus one, closures apart). Nothing
is imported or executed, and nothing is known about what a name refers to.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from actors.engines.python_hazards import call_hazard

# Fields that hold no node worth a visit: contexts and operators carry nothing, the rest are strings and numbers.
_EMPTY_FIELDS = {
    *("ctx", "op", "ops", "id", "attr", "arg", "name", "asname", "module", "level", "kind", "value_kind"),
    *("type_comment", "simple", "is_async", "conversion", "type_ignores", "kwd_attrs", "rest"),
}
_CHILDREN: dict[type, tuple[str, ...]] = {
    cls: tuple(name for name in cls._fields if name not in _EMPTY_FIELDS)
    for cls in vars(ast).values()
    if isinstance(cls, type) and issubclass(cls, ast.AST)
}
_CHILDREN[ast.keyword] = ("value",)
_LEAVES = (ast.Constant, ast.Pass, ast.Break, ast.Continue, ast.Global, ast.Nonlocal, ast.Import)
_TRIES: tuple[type, ...] = (ast.Try, ast.TryStar)
_BLOCKS: tuple[type, ...] = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.With,
    ast.AsyncWith,
    ast.Match,
    *_TRIES,
)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.Tuple, ast.Constant)

_SNAKE = re.compile(r"_{0,2}[a-z0-9][a-z0-9_]*\Z|_+\Z|_{0,2}[A-Z][A-Z0-9_]*\Z")
# ast.NodeVisitor and unittest prescribe these two forms.
_FUNCTION = re.compile(r"_{0,2}[a-z0-9][a-z0-9_]*\Z|_+\Z|_?(?:visit|leave|depart|do|handle|test)_\w+\Z")
_CAPWORDS = re.compile(r"_{0,2}[A-Z][A-Za-z0-9]*_?\Z")
# One-letter names that mathematics and custom have given a meaning.
_CUSTOMARY = frozenset("_ijknmxyzefpqtvwabcs")


@dataclass(slots=True)
class FunctionMeasures:
    """One function or method; `lines` spans its whole definition, closures included, `depth` counts nested blocks."""

    name: str
    line: int
    lines: int
    parameters: int
    complexity: int = 1
    depth: int = 0
    is_stub: bool = False


@dataclass(slots=True)
class PythonMeasures:
    """Totals over one module. Lists of findings hold texts such as "eval of a computed string (line 3)"."""

    functions: list[FunctionMeasures] = field(default_factory=list)
    classes: int = 0
    statements: int = 0
    nodes: int = 0
    imports: int = 0
    calls: int = 0
    module_decisions: int = 0
    data_lines: int = 0
    has_module_docstring: bool = False
    documentable: int = 0
    documented: int = 0
    hintable: int = 0
    hinted: int = 0
    names: int = 0
    poor_names: list[str] = field(default_factory=list)
    cryptic_names: int = 0
    globals: int = 0
    wildcard_imports: list[int] = field(default_factory=list)
    mutable_defaults: list[int] = field(default_factory=list)
    silent_handlers: list[int] = field(default_factory=list)
    bare_handlers: list[int] = field(default_factory=list)
    hazards: list[str] = field(default_factory=list)

    @property
    def docstring_coverage(self) -> float:
        """Share of the module, its public classes and its public functions that have a docstring."""
        return self.documented / self.documentable if self.documentable else 0.0

    @property
    def hint_coverage(self) -> float:
        """Share of parameters and returns with a type hint (`self`, `cls` and `__init__`'s return apart)."""
        return self.hinted / self.hintable if self.hintable else 0.0


def measure_python(module: ast.Module) -> PythonMeasures:
    """Measure a parsed module in one walk."""
    walk = _Walk()
    walk.module(module)
    return walk.finish()


@dataclass(slots=True)
class _Scope:
    """A body still to be walked, and the function that its complexity counts for (None: the module or a class)."""

    body: list[ast.stmt]
    function: FunctionMeasures | None
    is_public: bool
    is_class: bool


class _Walk:
    def __init__(self) -> None:
        self.found = PythonMeasures()
        self._scopes: list[_Scope] = []
        self._names: set[str] = set()
        self._hazards: list[tuple[int, str]] = []
        self._decisions = 0
        self._expressions: list[ast.AST] = []

    def module(self, module: ast.Module) -> None:
        found = self.found
        found.has_module_docstring = _has_docstring(module.body)
        found.documentable += 1
        found.documented += found.has_module_docstring
        found.data_lines = sum(map(_data_lines, module.body))
        self._scopes.append(_Scope(module.body, None, True, False))
        while self._scopes:
            self._scope(self._scopes.pop())

    def finish(self) -> PythonMeasures:
        found = self.found
        cryptic = {name for name in self._names if len(name) == 1 and name not in _CUSTOMARY}
        poor = sorted(name for name in self._names if not _SNAKE.match(name))
        found.names += len(self._names)
        found.cryptic_names = len(cryptic)
        found.poor_names += poor
        # The walk takes bodies last in, first out; findings are read in the order of the text.
        found.hazards = [f"{hazard} (line {line})" for line, hazard in sorted(self._hazards)]
        for lines in (found.bare_handlers, found.silent_handlers, found.wildcard_imports, found.mutable_defaults):
            lines.sort()
        return found

    def _scope(self, scope: _Scope) -> None:
        """Walk the statements of one body; definitions inside it become scopes of their own."""
        self._decisions = 0
        deepest = 0
        pending: list[tuple[ast.stmt, int]] = [(statement, 0) for statement in scope.body]
        while pending:
            node, depth = pending.pop()
            self.found.statements += 1
            kind = node.__class__
            if kind in _BLOCKS:
                deepest = max(deepest, depth + 1)
                self._block(node, depth, pending)
            elif kind in _FUNCTIONS:
                self._define_function(node, scope)  # type: ignore[arg-type]
            elif kind is ast.ClassDef:
                self._define_class(node, scope)  # type: ignore[arg-type]
            elif kind is ast.Import:
                self.found.imports += 1
            elif kind is ast.ImportFrom:
                self._import_from(node)  # type: ignore[arg-type]
            elif kind is ast.Global:
                self.found.globals += 1
            elif kind is ast.Assert:
                decisions = self._decisions + 1  # what is asserted adds no path that the function takes
                self._expression(node)
                self._decisions = decisions
            elif kind is not ast.Pass:
                self._expression(node)
        if scope.function is None:
            self.found.module_decisions += self._decisions
        else:
            scope.function.complexity += self._decisions
            scope.function.depth = deepest

    def _block(self, node: ast.AST, depth: int, pending: list[tuple[ast.stmt, int]]) -> None:
        """A statement with blocks: its decisions, its expressions now, its statements onto the stack."""
        inner = depth + 1
        if isinstance(node, ast.If):
            self._decisions += 1
            self._expression(node.test)
            is_elif = len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If)
            pending += [(child, inner) for child in node.body]
            pending += [(child, depth if is_elif else inner) for child in node.orelse]
            return
        if isinstance(node, ast.For | ast.AsyncFor | ast.While):
            self._decisions += 1 + bool(node.orelse)
            expressions = [node.test] if isinstance(node, ast.While) else [node.target, node.iter]
            bodies = [node.body, node.orelse]
        elif isinstance(node, ast.With | ast.AsyncWith):
            expressions = [item.context_expr for item in node.items]
            expressions += [item.optional_vars for item in node.items if item.optional_vars]
            bodies = [node.body]
        elif isinstance(node, ast.Match):
            expressions, bodies = [node.subject], [case.body for case in node.cases]
            expressions += [case.guard for case in node.cases if case.guard]
            self._decisions += max(0, len(node.cases) - any(map(_is_wildcard, node.cases)))
        elif isinstance(node, ast.Try | ast.TryStar):
            self._decisions += len(node.handlers) + bool(node.orelse)
            expressions = [handler.type for handler in node.handlers if handler.type]
            bodies = [node.body, node.orelse, node.finalbody, *(handler.body for handler in node.handlers)]
            self._handlers(node.handlers)
        for expression in expressions:
            self._expression(expression)
        pending += [(child, inner) for body in bodies for child in body]

    def _handlers(self, handlers: Iterable[ast.ExceptHandler]) -> None:
        for handler in handlers:
            if handler.type is None and not any(isinstance(child, ast.Raise) for child in handler.body):
                self.found.bare_handlers.append(handler.lineno)
            is_broad = handler.type is None or getattr(handler.type, "id", "") in (
                "Exception",
                "BaseException",
            )
            if is_broad and len(handler.body) == 1 and isinstance(handler.body[0], ast.Pass):
                self.found.silent_handlers.append(handler.lineno)

    def _expression(self, root: ast.AST) -> None:
        """Everything below `root`, which holds no statements (a lambda counts for the function around it)."""
        stack = self._expressions
        stack.append(root)
        found = self.found
        while stack:
            node = stack.pop()
            kind = node.__class__
            found.nodes += 1
            if kind is ast.Name:
                if node.ctx.__class__ is ast.Store:  # type: ignore[attr-defined]
                    self._names.add(node.id)  # type: ignore[attr-defined]
                continue
            if kind in _LEAVES:
                continue
            if kind is ast.Call:
                found.calls += 1
                hazard = call_hazard(node)  # type: ignore[arg-type]
                if hazard:
                    self._hazards.append((node.lineno, hazard))  # type: ignore[attr-defined]
            elif kind is ast.BoolOp:
                self._decisions += len(node.values) - 1  # type: ignore[attr-defined]
            elif kind is ast.IfExp:
                self._decisions += 1
            elif kind is ast.comprehension:
                self._decisions += 1 + len(node.ifs)  # type: ignore[attr-defined]
            for name in _CHILDREN[kind]:
                child = getattr(node, name)
                if child.__class__ is list:
                    stack += [each for each in child if each is not None]
                elif child is not None:
                    stack.append(child)

    def _define_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: _Scope) -> None:
        found, spec = self.found, node.args
        parameters = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
        parameters += [extra for extra in (spec.vararg, spec.kwarg) if extra]
        if scope.is_class and parameters and parameters[0].arg in ("self", "cls", "mcs"):
            parameters = parameters[1:]
        found.hintable += len(parameters) + (node.name != "__init__")
        found.hinted += sum(each.annotation is not None for each in parameters)
        found.hinted += node.returns is not None and node.name != "__init__"
        self._names.update(each.arg for each in parameters)
        self._judge_name(node.name, bool(_FUNCTION.match(node.name)))
        for default in (*spec.defaults, *spec.kw_defaults):
            if isinstance(default, ast.List | ast.Dict | ast.Set):
                found.mutable_defaults.append(default.lineno)
            if default is not None:
                self._expression(default)
        for decorator in node.decorator_list:
            self._expression(decorator)
        is_public = scope.is_public and scope.function is None and not node.name.startswith("_")
        is_documented = _has_docstring(node.body)
        found.documentable += is_public
        found.documented += is_public and is_documented
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        function = FunctionMeasures(node.name, node.lineno, length, len(parameters))
        function.is_stub = all(map(_does_nothing, node.body))
        found.functions.append(function)
        self._scopes.append(_Scope(node.body, function, is_public, False))

    def _define_class(self, node: ast.ClassDef, scope: _Scope) -> None:
        self.found.classes += 1
        self._judge_name(node.name, bool(_CAPWORDS.match(node.name)))
        is_public = scope.is_public and scope.function is None and not node.name.startswith("_")
        self.found.documentable += is_public
        self.found.documented += is_public and _has_docstring(node.body)
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self._expression(part)
        self._scopes.append(_Scope(node.body, None, is_public, True))

    def _judge_name(self, name: str, is_good: bool) -> None:
        self.found.names += 1
        if not is_good and not name.startswith("__"):
            self.found.poor_names.append(name)

    def _import_from(self, node: ast.ImportFrom) -> None:
        self.found.imports += 1
        if any(alias.name == "*" for alias in node.names):
            self.found.wildcard_imports.append(node.lineno)


def _has_docstring(body: list[ast.stmt]) -> bool:
    return bool(body) and _is_text(body[0])


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _does_nothing(node: ast.stmt) -> bool:
    """Whether a statement is what one writes where a body is still missing."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Raise):
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return getattr(raised, "id", "") == "NotImplementedError"
    return isinstance(node, ast.Pass)


def _data_lines(node: ast.stmt) -> int:
    """Lines of a statement at module level that only spells out a literal."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(node.value, _DISPLAYS):
        return 0
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _is_wildcard(case: ast.match_case) -> bool:
    return isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None

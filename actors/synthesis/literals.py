"""What a program spells out: the literals in its source with constant arithmetic done, as runs of digits.

Numbers, strings and containers are read in the order of the source, and a docstring is none. Arithmetic of constants,
comprehensions over constants and names that are bound to a constant once are worked out within bounds; nothing of the
program is executed. Whatever cannot be worked out is left alone, and the literals in it are read by themselves.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

Scope = dict[str, Any]
OTHER = 0xFF
"""Stands in a run of digits for what is no colour: a negative number, a number of two digits."""

_STEPS = 50_000  # of working out, over a whole program
_WEIGHED = 2_000_000  # elements and characters of the lists that are worked out, over a whole program
_LONGEST = 4_096  # elements of a container that is worked out
_MOST_DIGITS = 200_000
_LARGEST = 10**15
_CODED = 10**8  # a number from here on may hold a grid, digit by digit
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod, ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
    ast.RShift: operator.rshift,
}  # fmt: skip
_UNARY: dict[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert}
_CALLS: dict[str, Callable[..., Any]] = {"int": int, "ord": ord, "str": str, "list": list, "tuple": tuple}


@dataclass(frozen=True, slots=True)
class Literal:
    """One literal expression: its value, its line, and how much of it was typed (numbers, and digits in strings)."""

    value: Any
    line: int
    typed: int
    longest_word: int  # characters of a string's longest run without a blank


@dataclass(slots=True)
class Program:
    """The literals of a parsed program."""

    tree: ast.Module
    literals: list[Literal] = field(default_factory=list)

    @property
    def digits(self) -> bytes:
        """All containers, strings and long numbers, one after the other, a byte for each digit; at most 200,000."""
        every = (digit for literal in self.literals if _is_data(literal.value) for digit in _digits(literal.value))
        return bytes(islice(every, _MOST_DIGITS))


class _Unknown(Exception):
    """This expression cannot be worked out."""


def read(program: str) -> Program | None:
    """The program's literals; None where it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes
            tree = ast.parse(program)
        return _Reader(tree).read()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


_FAILURES = (_Unknown, ArithmeticError, LookupError, TypeError, ValueError)


class _Reader:
    def __init__(self, tree: ast.Module) -> None:
        self.program = Program(tree)
        self.steps = self.weighed = 0
        stores = Counter(n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
        self.bound_once = {name for name, count in stores.items() if count == 1}
        self.scope: Scope = {}

    def read(self) -> Program:
        self._visit(self.program.tree)
        return self.program

    def _visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring, or what stands there for nothing
        if isinstance(node, ast.expr) and not isinstance(node, ast.Name):
            try:
                value = self._value(node, self.scope)
            except _FAILURES:
                pass
            else:
                self.program.literals.append(_literal(node, value))
                return
        if isinstance(node, ast.Assign):
            self._visit(node.value)
            self._bind(node)
            for target in node.targets:
                self._visit(target)
            return
        for child in ast.iter_child_nodes(node):
            self._visit(child)

    def _bind(self, node: ast.Assign) -> None:
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        if names and all(name in self.bound_once for name in names):
            try:
                value = self._value(node.value, self.scope)
            except _FAILURES:
                return
            self.scope.update(dict.fromkeys(names, value))

    def _value(self, node: ast.expr, scope: Scope) -> Any:
        """The value of a constant expression: numbers, strings and lists. Raises one of _FAILURES."""
        if self.steps > _STEPS:
            raise _Unknown
        value = self._worked_out(node, scope)
        self.steps += len(value) if isinstance(value, list | str) else 1
        if self.steps > _STEPS:
            raise _Unknown
        if isinstance(value, list):
            self._weigh(value)
        return value

    def _weigh(self, value: list[Any]) -> None:
        """Bound what is written out later: lists in lists may be the same one many times over."""
        ahead: list[Any] = [value]
        while ahead:
            each = ahead.pop()
            self.weighed += 1 + (len(each) if isinstance(each, str) else 0)
            if self.weighed > _WEIGHED:
                raise _Unknown
            if isinstance(each, list):
                ahead.extend(each)

    def _worked_out(self, node: ast.expr, scope: Scope) -> Any:
        match node:
            case ast.Constant(value=bytes() as value):
                return value.decode("latin-1")
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name) if name in scope:
                return scope[name]
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                return self._items(items, scope)
            case ast.Dict(keys=keys, values=values):
                pairs = zip(keys, values, strict=True)
                return [self._items([key, value] if key else [value], scope) for key, value in pairs]
            case ast.JoinedStr(values=parts):
                return "".join(str(self._value(part, scope)) for part in parts)
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
                return _UNARY[type(op)](self._value(operand, scope))
            case ast.BinOp(left=left, op=op, right=right):
                return _computed(op, self._value(left, scope), self._value(right, scope))
            case ast.Subscript(value=value, slice=index):
                return self._value(value, scope)[self._value(index, scope)]
            case (
                ast.ListComp(elt=element, generators=generators) | ast.GeneratorExp(elt=element, generators=generators)
            ):
                return list(self._comprehended(element, generators, scope))
            case ast.Call(func=ast.Name(id="range"), args=arguments, keywords=[]):
                numbers = range(*self._items(arguments, scope))
                return _bounded(numbers)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _CALLS:
                return _bounded(_CALLS[name](self._value(argument, scope)))
        raise _Unknown

    def _items(self, nodes: list[ast.expr], scope: Scope) -> list[Any]:
        items: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                items.extend(self._value(node.value, scope))
            else:
                items.append(self._value(node, scope))
        return items

    def _comprehended(self, element: ast.expr, generators: list[ast.comprehension], scope: Scope) -> Iterator[Any]:
        first, *rest = generators
        if not isinstance(first.target, ast.Name) or first.ifs or first.is_async:
            raise _Unknown
        for item in self._value(first.iter, scope):
            inner = scope | {first.target.id: item}
            if rest:
                yield from self._comprehended(element, rest, inner)
            else:
                yield self._value(element, inner)


def _computed(op: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(op, ast.Pow) and isinstance(left, int) and isinstance(right, int):
        if not 0 <= right <= 200 or abs(left) > 1_000:
            raise _Unknown
        return left**right
    if isinstance(op, ast.LShift) and isinstance(left, int) and isinstance(right, int):
        if not 0 <= right <= 200 or abs(left) > _LARGEST:
            raise _Unknown
        return left << right
    if type(op) not in _BINARY or (isinstance(op, ast.Mod) and isinstance(left, str)):
        raise _Unknown
    if isinstance(op, ast.Mult):
        size = max((len(side) for side in (left, right) if isinstance(side, list | str)), default=0)
        times = max((abs(side) for side in (left, right) if isinstance(side, int)), default=0)
        if size and size * times > _LONGEST:
            raise _Unknown
    return _bounded(_BINARY[type(op)](left, right))


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > 2_000:
        raise _Unknown
    if isinstance(value, tuple | range):
        if len(value) > _LONGEST:
            raise _Unknown
        return list(value)
    if isinstance(value, list | str) and len(value) > _LONGEST:
        raise _Unknown
    return value


def _literal(node: ast.expr, value: Any) -> Literal:
    typed = longest = 0
    for part in ast.walk(node):
        if isinstance(part, ast.Constant):
            if isinstance(part.value, str | bytes):
                text = part.value if isinstance(part.value, str) else part.value.decode("latin-1")
                typed += sum(map(str.isdecimal, text))
                longest = max(longest, *map(len, text.split()), 0)
            elif isinstance(part.value, int | float):
                typed += 1
    return Literal(value, node.lineno, typed, longest)


def _is_data(value: Any) -> bool:
    return isinstance(value, list | str) or (isinstance(value, int) and abs(value) >= _CODED)


def _digits(value: Any) -> Iterator[int]:
    if isinstance(value, list):
        for item in value:
            yield from _digits(item)
    elif isinstance(value, str):
        yield from (ord(each) - ord("0") for each in value if "0" <= each <= "9")
    elif isinstance(value, int) and value >= _CODED:
        yield from map(int, str(value))
    elif isinstance(value, int | float) and value in range(10):
        yield int(value)
    else:
        yield OTHER

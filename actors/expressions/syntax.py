"""The syntax of the native subset of jq: paths, literals, comparisons, logic, conditions, objects and pipes.

`parse` gives the tree of a program that lies in the subset and raises `NotNative` for every other one; jq runs
those. It reads only programs that jq has compiled before, so it may accept what jq refuses, but what both accept
means the same. Pipes are resolved here: in the tree every path starts at the row.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import isinf
from typing import TypeAlias

import orjson

Key: TypeAlias = str | int
Scalar: TypeAlias = str | int | float | bool | None


class NotNative(Exception):
    """The program, or one row under it, is a case for jq."""


@dataclass(frozen=True, slots=True)
class Path:
    """A value of the row, by object keys and array positions; without keys the row itself."""

    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Bound:
    """The input of the right side of a pipe whose left side is not a path."""

    number: int


@dataclass(frozen=True, slots=True)
class Pipe:
    """`value | body`, where the body sees the value as `Bound(number)`."""

    number: int
    value: Node
    body: Node


@dataclass(frozen=True, slots=True)
class Through:
    """`path | body`, where the paths of the body start at the row: the path is followed for its errors alone."""

    path: Path
    body: Node


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant, and its JSON text: jq's tostring keeps the spelling of a number."""

    value: Scalar
    text: bytes


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left operator right` by jq's total order over all types."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Logic:
    """`left and right`, `left or right`."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Alternative:
    """`left // right`."""

    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Concatenation:
    """`left + right`, where at least one side is known to be a string."""

    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Condition:
    """`if condition then then else otherwise end`."""

    condition: Node
    then: Node
    otherwise: Node


@dataclass(frozen=True, slots=True)
class Object:
    """An object construction with constant keys, no key twice."""

    members: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One of jq's functions without arguments, on an explicit input."""

    function: str
    argument: Node


@dataclass(frozen=True, slots=True)
class NotNull:
    """A value that must not be null. jq has no such syntax: whoever joins programs adds it to their trees."""

    node: Node


Node: TypeAlias = (
    Path
    | Bound
    | Pipe
    | Through
    | Literal
    | Comparison
    | Logic
    | Alternative
    | Concatenation
    | Condition
    | Object
    | Call
    | NotNull
)

FUNCTIONS = frozenset({"not", "length", "tostring"})
_KEYWORDS = frozenset({"if", "then", "elif", "else", "end", "and", "or", "true", "false", "null"})
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_MAX_EXACT_INTEGER = 2**53
_MAX_POSITION = 15  # a wider array would make a wide decoder for nothing
_BARE_POINT = re.compile(r"\.(?![0-9])")
_JSON_NUMBER = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
        (?P<field>\.[A-Za-z_][A-Za-z_0-9]*)
      | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<name>[A-Za-z_][A-Za-z_0-9]*(?!::|[A-Za-z_0-9]))
      | (?P<operator>\?//|\.\.|//=|[|+\-*/%]=|//|[=!<>]=|[.\[\](){}:,|<>+\-?;])
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)


def parse(program: str) -> Node:
    """The tree of a program of the native subset; `NotNative` for any other."""
    parser = _Parser(_tokens(program))
    tree = parser.pipe(Path())
    parser.expect("end", "")
    return tree


def _tokens(program: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position = 0
    while not tokens or tokens[-1][0] != "end":
        match = _TOKEN.match(program, position)
        if match is None or match.lastgroup is None:
            raise NotNative(f"at {program[position : position + 10]!r}")
        position = match.end()
        tokens.append((match.lastgroup, match[match.lastgroup]))
    return tokens


class _Parser:
    """Recursive descent by jq's precedences: `|`, `//`, `or`, `and`, comparison, `+`, term."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._next = 0
        self._pipes = 0

    def expect(self, kind: str, text: str) -> None:
        if not self._take(kind, text):
            raise NotNative(f"at {self._tokens[self._next][1]!r}")

    def pipe(self, given: Node) -> Node:
        left = self._alternative(given)
        if not self._take("operator", "|"):
            return left
        if not isinstance(left, Path):
            self._pipes += 1
            number = self._pipes
            return Pipe(number, left, self.pipe(Bound(number)))
        body = self.pipe(left)
        if len(left.keys) < 2 or (isinstance(body, Path) and body.keys[: len(left.keys)] == left.keys):
            # One step from a row never fails, and a longer path fails where its beginning does.
            return body
        return Through(left, body)

    def _take(self, kind: str, text: str) -> bool:
        if self._tokens[self._next] != (kind, text):
            return False
        self._next += 1
        return True

    def _take_kind(self, kind: str) -> str | None:
        found, text = self._tokens[self._next]
        if found != kind:
            return None
        self._next += 1
        return text

    def _alternative(self, given: Node) -> Node:
        left = self._logic(given, "or")
        if self._take("operator", "//"):
            return Alternative(left, self._alternative(given))
        return left

    def _logic(self, given: Node, operator: str) -> Node:
        def operand() -> Node:
            return self._logic(given, "and") if operator == "or" else self._comparison(given)

        left = operand()
        while self._take("name", operator):
            left = Logic(operator, left, operand())
        return left

    def _comparison(self, given: Node) -> Node:
        left = self._sum(given)
        kind, operator = self._tokens[self._next]
        if kind != "operator" or operator not in _COMPARISONS:
            return left
        self._next += 1
        return Comparison(operator, left, self._sum(given))

    def _sum(self, given: Node) -> Node:
        left = self._term(given)
        while self._take("operator", "+"):
            right = self._term(given)
            if not (_is_string(left) or _is_string(right)):
                # jq adds numbers as doubles, and objects and arrays too: those rows would all end up with jq.
                raise NotNative("+ without a string")
            left = Concatenation(left, right)
        return left

    def _term(self, given: Node) -> Node:
        node = self._head(given)
        while True:
            keys = self._suffix()
            if keys is None:
                return node
            node = _extended(node, keys) if keys else node

    def _head(self, given: Node) -> Node:
        kind, text = self._tokens[self._next]
        self._next += 1
        match kind, text:
            case "field", _:
                return _extended(given, (text[1:],))
            case "operator", ".":
                key = self._take_kind("string")
                return given if key is None else _extended(given, (_string(key),))
            case "operator", "(":
                node = self.pipe(given)
                self.expect("operator", ")")
                return node
            case "operator", "{":
                return self._object(given)
            case "operator", "-":
                return self._negative()
            case "name", "if":
                return self._condition(given)
            case "number", _:
                return _number(text)
            case "string", _:
                value = _string(text)
                return Literal(value, orjson.dumps(value))
            case "name", ("true" | "false" | "null"):
                return Literal({"true": True, "false": False, "null": None}[text], text.encode())
            case "name", _ if text in FUNCTIONS and self._tokens[self._next] != ("operator", "("):
                return Call(text, given)
        raise NotNative(f"at {text!r}")

    def _suffix(self) -> tuple[Key, ...] | None:
        """The keys of one step after a term, none for `?`, or None where no step follows."""
        field = self._take_kind("field")
        if field is not None:
            return (field[1:],)
        if self._take("operator", "?"):
            # A row on which the step fails goes to jq, which then honours the question mark.
            return ()
        before = self._next
        if self._take("operator", "."):
            key = self._take_kind("string")
            if key is not None:
                return (_string(key),)
            if self._tokens[self._next] != ("operator", "["):
                self._next = before
                return None
        if not self._take("operator", "["):
            return None
        kind, text = self._tokens[self._next]
        self._next += 1
        if kind not in ("string", "number"):
            raise NotNative(f"at {text!r}")
        key_or_position = _string(text) if kind == "string" else _position(text)
        self.expect("operator", "]")
        return (key_or_position,)

    def _negative(self) -> Node:
        text = self._take_kind("number")
        if text is None:
            raise NotNative("- before something else than a number")
        return _number(text, sign=-1)

    def _condition(self, given: Node) -> Node:
        """After `if` or `elif`, up to and with `end`."""
        condition = self.pipe(given)
        self.expect("name", "then")
        then = self.pipe(given)
        if self._take("name", "elif"):
            return Condition(condition, then, self._condition(given))
        otherwise = self.pipe(given) if self._take("name", "else") else given
        self.expect("name", "end")
        return Condition(condition, then, otherwise)

    def _object(self, given: Node) -> Node:
        members: dict[str, Node] = {}
        while not self._take("operator", "}"):
            kind, text = self._tokens[self._next]
            self._next += 1
            if kind not in ("name", "string"):
                raise NotNative(f"at {text!r}")
            key = _string(text) if kind == "string" else text
            if key in members:
                raise NotNative(f"key {key!r} twice")
            value = self.pipe(given) if self._take("operator", ":") else _extended(given, (key,))
            members[key] = value
            if self._tokens[self._next] != ("operator", "}"):
                self.expect("operator", ",")
        return Object(tuple(members.items()))


def _extended(node: Node, keys: tuple[Key, ...]) -> Node:
    if not isinstance(node, Path):
        raise NotNative("a path into a computed value")
    return Path(node.keys + keys)


def _is_string(node: Node) -> bool:
    match node:
        case Literal(value):
            return isinstance(value, str)
        case Concatenation(left, right):
            return _is_string(left) or _is_string(right)
        case Call(function):
            return function == "tostring"
    return False


def _string(text: str) -> str:
    try:
        value = json.loads(text)
        value.encode()
    except (ValueError, UnicodeEncodeError):
        # An interpolation, or an escape that JSON does not have.
        raise NotNative(f"string {text}") from None
    return str(value)


def _number(text: str, sign: int = 1) -> Literal:
    if text.isdigit():
        whole = sign * int(text)
        if abs(whole) > _MAX_EXACT_INTEGER:
            raise NotNative(f"number {text} beyond 2^53")
        return Literal(whole, str(whole).encode())
    spelled = _BARE_POINT.sub("", f"0{text}" if text.startswith(".") else text)
    value = float(spelled)
    if not _JSON_NUMBER.fullmatch(spelled) or isinf(value) or not _is_spelling_of(value, spelled):
        raise NotNative(f"number {text} is not a double")
    # jq's minus leaves no negative zero.
    return Literal(-value, f"-{spelled}".encode()) if sign < 0 and value else Literal(value, spelled.encode())


def _is_spelling_of(value: float, text: str) -> bool:
    """Whether the shortest decimal of a double is the number that the text names."""
    try:
        return Decimal(text) == Decimal(repr(value))
    except InvalidOperation:  # an exponent beyond every decimal
        return False


def _position(text: str) -> int:
    if not text.isdigit() or int(text) > _MAX_POSITION:
        raise NotNative(f"array position {text}")
    return int(text)

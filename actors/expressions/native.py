"""Programs of the native subset, compiled to Python source that reads a row through one generated decoder.

The decoder is a msgspec struct of the paths that the program names: everything else is skipped without being
built, and a value that is only copied stays a view of its bytes. The source is made from the parsed tree alone;
constants of the program reach it by name, never as text. A row of which the compiled code is not sure (it
cannot decode it, or an operator raises `NotNative`) is handed to the caller's function for doubtful rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec
import orjson

from actors.expressions import semantics
from actors.expressions.syntax import (
    Alternative,
    Bound,
    Call,
    Comparison,
    Concatenation,
    Condition,
    Key,
    Literal,
    Logic,
    Node,
    NotNative,
    NotNull,
    Object,
    Path,
    Pipe,
    Through,
)

Batch: TypeAlias = Callable[[Sequence[bytes], Callable[[bytes], Any]], list[Any]]
Reference: TypeAlias = Path | Bound

_NULL = msgspec.Raw(b"null")
_TROUBLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, NotNative)


def compile_values(tree: Node) -> Batch:
    """A function of (lines, function for a doubtful row) that gives a Python value per row."""
    return _compile(lambda writer: writer.value(tree))


def compile_texts(tree: Node) -> Batch:
    """As `compile_values`, giving the value's JSON text."""
    return _compile(lambda writer: f"bytes({writer.text(tree)})")


def compile_members(tree: Object) -> Batch:
    """As `compile_values`, giving a tuple of the JSON texts of an object's members, in order."""
    return _compile(lambda writer: _tuple(f"bytes({writer.text(node)})" for _, node in tree.members))


def compile_changes(tree: Object) -> Batch:
    """As `compile_members`, each text (a buffer) beside the raw value that the row has under the key, or None.

    The text of a member that copies the row's value under its own key is that same raw value.
    """

    def change(writer: _Writer, key: str, node: Node) -> str:
        old = writer.text(Path((key,)))
        return f"({writer.text(node)}, None if {old} is NULL else {old})"

    return _compile(lambda writer: _tuple(change(writer, key, node) for key, node in tree.members))


def _compile(write: Callable[[_Writer], str]) -> Batch:
    # The first pass finds out which values are copied and which are looked at; the second writes for that.
    scout = _Writer({})
    write(scout)
    writer = _Writer(scout.seen)
    result = write(writer)
    root = _Place()
    for reference, kinds in scout.seen.items():
        if isinstance(reference, Path):
            root.at(reference.keys).kinds = _kept(kinds)
    lines = [
        "def batch(lines, doubtful):",
        "    results = []",
        "    append = results.append",
        "    for line in lines:",
        "        try:",
        *(f"            {statement}" for statement in _reading(root, writer)),
        f"            append({result})",
        "        except TROUBLE:",
        "            append(doubtful(line))",
        "    return results",
    ]
    try:
        exec(compile("\n".join(lines), "<native expression>", "exec"), writer.names)
    except (SyntaxError, RecursionError, MemoryError):
        raise NotNative("nested more deeply than Python's compiler takes") from None
    batch: Batch = writer.names["batch"]
    return batch


def _kept(kinds: set[str]) -> set[str]:
    """The forms in which a value is held: to know only its truth, the form that is there anyway will do."""
    held = kinds - {"truth", "passed"}
    return {"value"} if "truth" in kinds and not held else held


def _tuple(items: Iterable[str]) -> str:
    return f"({''.join(f'{item}, ' for item in items)})"


@dataclass(slots=True)
class _Place:
    """A value of the row that the program names, or an object or array on the way to one."""

    kinds: set[str] = field(default_factory=set)
    children: dict[Key, _Place] = field(default_factory=dict)

    def at(self, keys: tuple[Key, ...]) -> _Place:
        place = self
        for key in keys:
            if isinstance(key, int):
                # A position is a place in the decoder's list of elements, so the ones before it are listed too.
                for before in range(key):
                    place.children.setdefault(before, _Place())
            place = place.children.setdefault(key, _Place())
        return place

    def members(self) -> list[tuple[str, Key, _Place]]:
        """The children with the names of their struct fields; positions of an array come in order."""
        return [(f"f{number}", key, child) for number, (key, child) in enumerate(self.children.items())]

    def is_raw(self) -> bool:
        return "text" in self.kinds or bool(self.kinds) == bool(self.children)

    def decoded_type(self) -> Any:
        """What msgspec decodes here: a raw view, a Python value, or a struct of the children."""
        if self.is_raw():
            return msgspec.Raw
        return self.struct() | None if self.children else object

    def struct(self) -> Any:
        if len({type(key) for key in self.children}) > 1:
            raise NotNative("the same value as an object and as an array")
        fields: list[tuple[str, Any, Any]] = []
        for name, _, child in self.members():
            kind = child.decoded_type()
            fields.append((name, kind, _NULL if kind is msgspec.Raw else None))
        is_array = any(isinstance(key, int) for key in self.children)
        rename = None if is_array else {name: str(key) for name, key, _ in self.members()}
        try:
            return msgspec.defstruct("Row", fields, rename=rename, array_like=is_array, gc=False)
        except ValueError:
            raise NotNative("a key that needs an escape") from None


def _reading(root: _Place, writer: _Writer) -> list[str]:
    """The statements that decode `line` and set a variable for every form of every path."""
    if any(isinstance(key, int) for key in root.children):
        raise NotNative("a row as an array")
    decode = writer.name(msgspec.json.Decoder(root.struct()).decode)
    statements = [f"row = {decode}(line)"]
    if "text" in root.kinds:
        statements.append(f"{writer.variable('text', Path())} = line.strip(WHITESPACE)")
    if "value" in root.kinds:
        statements.append(f"{writer.variable('value', Path())} = loads(line)")
    return statements + _reading_members(root, (), "row", writer)


def _reading_members(place: _Place, keys: tuple[Key, ...], struct: str, writer: _Writer) -> list[str]:
    statements: list[str] = []
    for name, key, child in place.members():
        path = Path((*keys, key))
        text, value, inner = (writer.variable(kind, path) for kind in ("text", "value", "struct"))
        source = f"{struct}.{name}"
        if child.kinds:
            statements.append(f"{text if child.is_raw() else value} = {source}")
        if child.is_raw() and "value" in child.kinds:
            statements.append(f"{value} = loads({text})")
        if not child.children:
            continue
        if child.is_raw():
            source = f"{writer.name(msgspec.json.Decoder(child.struct() | None).decode)}({text})"
        below = _reading_members(child, path.keys, inner, writer)
        statements += _absent_members(child, path.keys, writer)
        statements.append(f"{inner} = {source}")
        if below:
            statements += [f"if {inner} is not None:", *(f"    {line}" for line in below)]
    return statements


def _absent_members(place: _Place, keys: tuple[Key, ...], writer: _Writer) -> list[str]:
    """Statements that make every member below null, as jq has it for a path that leads through null."""
    statements: list[str] = []
    for _, key, child in place.members():
        path = Path((*keys, key))
        for kind in sorted(child.kinds):
            statements.append(f"{writer.variable(kind, path)} = {'NULL' if kind == 'text' else 'None'}")
        statements += _absent_members(child, path.keys, writer)
    return statements


class _Writer:
    """Writes a tree as a Python expression: for its value, its JSON text (any buffer), or its truth."""

    def __init__(self, known: dict[Reference, set[str]]) -> None:
        self.seen: dict[Reference, set[str]] = {}
        self._known = known or self.seen
        self._variables: dict[tuple[str, Reference], str] = {}
        self._kept = 0
        self.names: dict[str, Any] = {
            "TROUBLE": _TROUBLE,
            "NULL": _NULL,
            "WHITESPACE": b" \t\r\n",
            "loads": msgspec.json.decode,
            "dumps": orjson.dumps,
            "join": b"".join,
            "holds": _holds,
            "not_null": _not_null,
            "order": semantics.order,
            "concatenation": semantics.concatenation,
            "length": semantics.length,
            "tostring": semantics.tostring,
        }

    def name(self, thing: object) -> str:
        """A name under which the compiled code finds an object of the compiler."""
        name = f"c{len(self.names)}"
        self.names[name] = thing
        return name

    def variable(self, kind: str, reference: Reference) -> str:
        return self._variables.setdefault((kind, reference), f"{kind}{len(self._variables)}")

    def _fresh(self) -> str:
        self._kept += 1
        return f"kept{self._kept}"

    def value(self, node: Node) -> str:
        match node:
            case Path() | Bound():
                return self._reference("value", node)
            case Literal(value):
                return self.name(value)
            case Alternative(left, right):
                kept = self._fresh()
                test = f"({kept} := {self.value(left)}) is not None and {kept} is not False"
                return f"({kept} if {test} else {self.value(right)})"
            case Concatenation(left, right):
                return f"concatenation({self.value(left)}, {self.value(right)})"
            case Condition(condition, then, otherwise):
                return f"({self.value(then)} if {self.truth(condition)} else {self.value(otherwise)})"
            case Object(members):
                return "{" + "".join(f"{self.name(key)}: {self.value(item)}, " for key, item in members) + "}"
            case Call("length" | "tostring" as function, argument):
                return f"{function}({self.value(argument)})"
            case Comparison() | Logic() | Call():
                return self.truth(node)
            case Pipe(number, bound, body):
                return self._pipe(Bound(number), bound, self.value(body))
            case Through(path, body):
                self.seen.setdefault(path, set()).add("passed")
                return self.value(body)
            case NotNull(inner):
                return self.value(inner)

    def text(self, node: Node) -> str:
        match node:
            case Path() | Bound():
                return self._reference("text", node)
            case Literal():
                return self.name(node.text)
            case Alternative(left, right) if isinstance(left, Path | Bound):
                return f"({self.text(left)} if {self.truth(left)} else {self.text(right)})"
            case Alternative(left, right):
                kept = self._fresh()
                return f"({kept} if holds({kept} := {self.text(left)}) else {self.text(right)})"
            case Condition(condition, then, otherwise):
                return f"({self.text(then)} if {self.truth(condition)} else {self.text(otherwise)})"
            case Object():
                return f"join({_tuple(self._pieces(node))})"
            case Comparison() | Logic() | Call("not"):
                return f"({self.name(b'true')} if {self.truth(node)} else {self.name(b'false')})"
            case Pipe(number, bound, body):
                return self._pipe(Bound(number), bound, self.text(body))
            case Through(path, body):
                self.seen.setdefault(path, set()).add("passed")
                return self.text(body)
            case NotNull(inner):
                return self.text(inner) if _is_never_null(inner) else f"not_null({self.text(inner)})"
            case Concatenation() | Call():
                return f"dumps({self.value(node)})"

    def truth(self, node: Node) -> str:
        match node:
            case Path() | Bound():
                return self._truth_of_reference(node)
            case Literal(value):
                return repr(value is not None and value is not False)
            case Comparison(operator, left, right):
                return self._comparison(operator, left, right)
            case Logic(operator, left, right):
                return f"({self.truth(left)} {operator} {self.truth(right)})"
            case Call("not", argument):
                return f"(not {self.truth(argument)})"
            case Condition(condition, then, otherwise):
                return f"({self.truth(then)} if {self.truth(condition)} else {self.truth(otherwise)})"
            case Alternative(left, right):
                return f"({self.truth(left)} or {self.truth(right)})"
            case Pipe(number, bound, body):
                return self._pipe(Bound(number), bound, self.truth(body))
            case Through(path, body):
                self.seen.setdefault(path, set()).add("passed")
                return self.truth(body)
            case NotNull(inner):
                return self.truth(inner)
            case Concatenation() | Object() | Call():
                # Strings, numbers and objects are all true, but making them may fail.
                return f"({self.value(node)}, True)[1]"

    def _reference(self, kind: str, reference: Reference) -> str:
        self.seen.setdefault(reference, set()).add(kind)
        return self.variable(kind, reference)

    def _truth_of_reference(self, reference: Reference) -> str:
        self.seen.setdefault(reference, set()).add("truth")
        if "value" not in self._known[reference] and "text" in self._known[reference]:
            return f"holds({self.variable('text', reference)})"
        value = self.variable("value", reference)
        return f"({value} is not None and {value} is not False)"

    def _comparison(self, operator: str, left: Node, right: Node) -> str:
        first, second = self.value(left), self.value(right)
        constants = [node.value for node in (left, right) if isinstance(node, Literal)]
        if operator in ("==", "!=") and any(isinstance(constant, str) for constant in constants):
            # A string equals nothing but the same string, in Python as in jq.
            return f"({first} {operator} {second})"
        return f"(order({first}, {second}) {operator} 0)"

    def _pipe(self, bound: Bound, value: Node, body: str) -> str:
        """`body`, already written, after the value in the forms in which it uses it."""
        kinds = _kept(self._known.get(bound, set())) or {"value"}
        text_name, value_name = self.variable("text", bound), self.variable("value", bound)
        if "text" not in kinds:
            return f"(({value_name} := {self.value(value)}), {body})[1]"
        bindings = [f"({text_name} := {self.text(value)})"]
        if "value" in kinds:
            bindings.append(f"({value_name} := loads({text_name}))")
        return f"({', '.join(bindings)}, {body})[-1]"

    def _pieces(self, node: Object) -> list[str]:
        """The buffers whose concatenation is an object's JSON text, constant neighbours joined."""
        pieces: list[bytes | str] = [b"{"]
        for number, (key, item) in enumerate(node.members):
            pieces.append((b"," if number else b"") + orjson.dumps(key) + b":")
            if isinstance(item, Literal):
                pieces.append(item.text)
            else:
                pieces.append(self.text(item))
        pieces.append(b"}")
        merged: list[bytes | str] = []
        for piece in pieces:
            if isinstance(piece, bytes) and merged and isinstance(merged[-1], bytes):
                merged[-1] += piece
            else:
                merged.append(piece)
        return [self.name(piece) if isinstance(piece, bytes) else piece for piece in merged]


def _holds(text: Any) -> bool:
    """Whether a JSON text is neither null nor false, without decoding it."""
    return len(text) > len(b"false") or bytes(text) not in (b"null", b"false")


def _not_null(text: Any) -> Any:
    if len(text) == len(b"null") and bytes(text) == b"null":
        raise NotNative("null where a value is needed")
    return text


def _is_never_null(node: Node) -> bool:
    match node:
        case Literal(value):
            return value is not None
        case Condition(_, then, otherwise):
            return _is_never_null(then) and _is_never_null(otherwise)
        case Alternative(_, right):
            return _is_never_null(right)
        case Through(_, body) | Pipe(_, _, body):
            return _is_never_null(body)
    return isinstance(node, Comparison | Logic | Call | Object)

"""Programs of the native subset, evaluated on JSON texts: slower, and sure where compiled code is not.

A value that is only copied keeps its bytes, numbers are compared by their decimal spelling, arrays and objects by
jq itself. An error of the program, and what only jq can tell, raises `NotNative`: jq then runs the whole program.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import TypeAlias

import msgspec
import orjson

from actors.expressions.jq_program import JqProgram
from actors.expressions.semantics import concatenation, length, order, tostring
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
    Object,
    Path,
    Pipe,
    Through,
)
from actors.fields import raw_member
from cluster.rows import Failure

Bindings: TypeAlias = dict[int, bytes]

_BOOLEANS = (b"false", b"true")
_HUGE_EXPONENT = re.compile(rb"[eE][+-]?0*[1-9][0-9]{8}")  # jq's decimals overflow there, Python's do later
_decode_decimals = msgspec.json.Decoder(float_hook=Decimal).decode
_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


def evaluate(tree: Node, row: bytes) -> bytes:
    """The JSON text of the program's first output for a row, a valid JSON object; raises `NotNative`."""
    try:
        return _text(tree, row, {})
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise NotNative(str(error)) from None


def _text(node: Node, row: bytes, bound: Bindings) -> bytes:
    match node:
        case Path(keys):
            return _descend(row, keys)
        case Bound(number):
            return bound[number]
        case Literal():
            return node.text
        case Object(members):
            return b"{" + b",".join(orjson.dumps(key) + b":" + _text(item, row, bound) for key, item in members) + b"}"
        case Condition(condition, then, otherwise):
            return _text(then if _truth(condition, row, bound) else otherwise, row, bound)
        case Alternative(left, right):
            text = _text(left, row, bound)
            return text if _holds(text) else _text(right, row, bound)
        case Pipe(number, value, body):
            return _text(body, row, {**bound, number: _text(value, row, bound)})
        case Through(path, body):
            _text(path, row, bound)
            return _text(body, row, bound)
        case Concatenation(left, right):
            first, second = _text(left, row, bound), _text(right, row, bound)
            return orjson.dumps(concatenation(_value(first), _value(second)))
        case Call("length", argument):
            return orjson.dumps(length(_value(_text(argument, row, bound))))
        case Call("tostring", argument):
            return orjson.dumps(_spelled(_text(argument, row, bound)))
    return _BOOLEANS[_truth(node, row, bound)]


def _truth(node: Node, row: bytes, bound: Bindings) -> bool:
    match node:
        case Comparison(operator, left, right):
            return _compare(operator, _text(left, row, bound), _text(right, row, bound))
        case Logic("and", left, right):
            return _truth(left, row, bound) and _truth(right, row, bound)
        case Logic(_, left, right):
            return _truth(left, row, bound) or _truth(right, row, bound)
        case Call("not", argument):
            return not _truth(argument, row, bound)
    return _holds(_text(node, row, bound))


def _value(text: bytes) -> object:
    """The value with every number as it is spelled, as int or Decimal."""
    if _HUGE_EXPONENT.search(text):
        raise NotNative("a number beyond decimal arithmetic")
    value: object = _decode_decimals(text)
    return value


def _holds(text: bytes) -> bool:
    return text not in (b"null", b"false")


def _descend(row: bytes, keys: tuple[Key, ...]) -> bytes:
    text = row.strip()
    for key in keys:
        if text == b"null":
            return text
        if isinstance(key, str):
            member = raw_member(key)(text)
        else:
            elements = _decode_elements(text)
            member = elements[key] if key < len(elements) else None
        text = b"null" if member is None else bytes(member)
    return text


def _compare(operator: str, left: bytes, right: bytes) -> bool:
    try:
        sign = order(_value(left), _value(right))
    except NotNative:
        return _compared_by_jq(operator, left, right)
    match operator:
        case "==":
            return sign == 0
        case "!=":
            return sign != 0
        case "<":
            return sign < 0
        case "<=":
            return sign <= 0
        case ">":
            return sign > 0
    return sign >= 0


def _compared_by_jq(operator: str, left: bytes, right: bytes) -> bool:
    return _jq(f".[0] {operator} .[1]", b"[" + left + b"," + right + b"]") is True


def _spelled(text: bytes) -> object:
    try:
        return tostring(_value(text))
    except NotNative:
        return _jq("tostring", text)


def _jq(program: str, text: bytes) -> object:
    output = _program(program).first(text.decode())
    if isinstance(output, Failure):
        raise NotNative(output.reason)
    return output


@lru_cache(maxsize=16)
def _program(program: str) -> JqProgram:
    return JqProgram(program)

"""What jq's operators mean for decoded JSON values, as far as that is certain.

A function here either gives jq's result or raises `NotNative`: a double that compares equal may stand for two
different decimal numbers, and jq compares the decimals; arrays and objects are left to jq. Numbers are int, float
or, where their spelling was kept, Decimal.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from actors.expressions.syntax import NotNative

_NUMBER = 2
_STRING = 3
_RANKS: dict[type, int] = {
    type(None): 0,
    bool: 1,
    int: _NUMBER,
    float: _NUMBER,
    Decimal: _NUMBER,
    str: _STRING,
    list: 4,
    dict: 5,
}
_SMALL = 2**53


def order(left: object, right: object) -> int:
    """-1, 0 or 1 by jq's order: null, false, true, numbers, strings by code point, arrays, objects."""
    left_type, right_type = type(left), type(right)
    if left_type is right_type and left_type in (str, int):
        return _sign(left, right)
    left_rank, right_rank = _RANKS[left_type], _RANKS[right_type]
    if left_rank != right_rank:
        return -1 if left_rank < right_rank else 1
    if left is None:
        return 0
    if left_rank > _STRING:
        raise NotNative("arrays and objects are compared by jq")
    if float in (left_type, right_type):
        return _order_of_doubles(left, right)
    return _sign(left, right)


def _sign(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


def _order_of_doubles(left: Any, right: Any) -> int:
    try:
        first, second = float(left), float(right)
    except OverflowError:
        raise NotNative("a number beyond double") from None
    # Rounding to double never swaps two numbers, but it makes different ones equal.
    if first == second:
        raise NotNative("equal doubles of unknown spelling")
    return -1 if first < second else 1


def concatenation(left: object, right: object) -> object:
    """`left + right` of strings; null is neutral."""
    if type(left) is str and type(right) is str:
        return left + right
    if left is None:
        return right
    if right is None:
        return left
    raise NotNative("no addition of strings")


def length(value: object) -> int:
    """Code points of a string, members of an array or object, 0 for null."""
    if value is None:
        return 0
    if isinstance(value, str | list | dict):
        return len(value)
    raise NotNative("length of a number")


def tostring(value: object) -> str:
    """A string itself, the JSON text of a boolean, null or plain integer."""
    if type(value) is str:
        return value
    if value is True:
        return "true"
    if value is False:
        return "false"
    if value is None:
        return "null"
    # jq keeps the spelling of a number: -0 decodes as 0, and 1e3 is written 1E+3.
    if type(value) is int and value and -_SMALL < value < _SMALL:
        return str(value)
    raise NotNative("tostring of a number of unknown spelling, an array or an object")

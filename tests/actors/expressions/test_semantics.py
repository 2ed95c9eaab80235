"""jq's operators on decoded values: the order over all types, and where it cannot be known."""

from __future__ import annotations

from decimal import Decimal
from itertools import combinations

import pytest

from actors.expressions.semantics import concatenation, length, order, tostring
from actors.expressions.syntax import NotNative


def test_types_are_ordered_null_false_true_numbers_strings_arrays_objects() -> None:
    ascending: list[object] = [
        None,
        False,
        True,
        -2,
        -1.5,
        0,
        Decimal("0.5"),
        2,
        "",
        "a",
        "\uffff",
        "\U0001f600",
        [],
        {},
    ]
    for smaller, larger in combinations(ascending, 2):
        if {type(smaller), type(larger)} == {float, Decimal}:
            continue
        assert (order(smaller, larger), order(larger, smaller)) == (-1, 1), (smaller, larger)
    for value in ascending[:-2]:
        if not isinstance(value, float):
            assert order(value, value) == 0


@pytest.mark.parametrize(
    ("left", "right"),
    [(0.5, 0.5), (1, 1.0), (2**53 + 1, 2.0**53), (10**400, 1.0), ([], []), ({}, {}), ([1], [2])],
)
def test_what_only_the_spelling_or_jq_can_tell_is_not_decided(left: object, right: object) -> None:
    with pytest.raises(NotNative):
        order(left, right)


def test_numbers_of_known_spelling_compare_exactly() -> None:
    assert order(Decimal("0.1"), Decimal("0.10")) == 0
    assert order(Decimal("0.1"), Decimal("0.10000000000000000000001")) == -1
    assert order(2**53 + 1, 2**53) == 1
    assert order(Decimal("1e400"), 10**400) == 0


def test_strings_are_joined_and_null_is_neutral() -> None:
    assert concatenation("a", "b") == "ab"
    assert concatenation(None, "b") == concatenation("b", None) == "b"
    with pytest.raises(NotNative):
        concatenation("a", 1)


def test_length_counts_code_points_and_members() -> None:
    assert [length(value) for value in (None, "\U0001f600é", [1, 2], {"a": 1})] == [0, 2, 2, 1]
    for value in (True, -1, 1.5):
        with pytest.raises(NotNative):
            length(value)


def test_tostring_is_sure_of_plain_integers_only() -> None:
    assert [tostring(value) for value in ("a", True, False, None, -12)] == ["a", "true", "false", "null", "-12"]
    for value in (0, 1.5, 2**53, Decimal("1.0"), [], {}):
        with pytest.raises(NotNative):
            tostring(value)

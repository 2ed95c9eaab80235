"""Which programs are native, and how they are read."""

from __future__ import annotations

import pytest

from actors.expressions.syntax import (
    Alternative,
    Bound,
    Call,
    Comparison,
    Concatenation,
    Condition,
    Literal,
    Logic,
    NotNative,
    Object,
    Path,
    Pipe,
    Through,
    parse,
)

ONE, TWO = Literal(1, b"1"), Literal(2, b"2")
A, B, C = Path(("a",)), Path(("b",)), Path(("c",))


@pytest.mark.parametrize(
    ("program", "keys"),
    [
        (".", ()),
        (".a", ("a",)),
        (" .a.b_1 \n", ("a", "b_1")),
        ('."a b"', ("a b",)),
        ('.["a"]["b"]', ("a", "b")),
        ('.a."b".["c"]', ("a", "b", "c")),
        (".a | .b", ("a", "b")),
        ("(.a).b", ("a", "b")),
        (".a[0].b", ("a", 0, "b")),
        (".if.and", ("if", "and")),
        ('."\\u00e9"', ("é",)),
        (".a?.b?", ("a", "b")),
    ],
)
def test_every_spelling_of_a_path_is_a_path(program: str, keys: tuple[str | int, ...]) -> None:
    assert parse(program) == Path(keys)


def test_operators_bind_as_in_jq() -> None:
    equal = Comparison("==", A, ONE)
    assert parse(".a == 1 and .b or .c") == Logic("or", Logic("and", equal, B), C)
    assert parse(".a or .b and .c") == Logic("or", A, Logic("and", B, C))
    assert parse(".a // .b // .c") == Alternative(A, Alternative(B, C))
    assert parse(".a // .b == 1") == Alternative(A, Comparison("==", B, ONE))
    assert parse('.a + "x" == .b') == Comparison("==", Concatenation(A, Literal("x", b'"x"')), B)
    assert parse(".a == 1 | not") == Pipe(1, equal, Call("not", Bound(1)))
    assert parse("(.a or .b) and .c") == Logic("and", Logic("or", A, B), C)


def test_conditions_and_objects_are_read() -> None:
    assert parse("if .a then 1 end") == Condition(A, ONE, Path())
    assert parse("if .a then 1 elif .b then 2 else .c end") == Condition(A, ONE, Condition(B, TWO, C))
    assert parse('{a, "b", "c": 1, if: .a == 1,}') == Object(
        (("a", A), ("b", B), ("c", ONE), ("if", Comparison("==", A, ONE)))
    )
    assert parse(".a | {b, c: .}") == Object((("b", Path(("a", "b"))), ("c", A)))


def test_a_path_before_a_pipe_is_followed_for_its_errors() -> None:
    assert parse(".a.b | 1") == Through(Path(("a", "b")), ONE)
    assert parse(".a | 1") == ONE


def test_literals_keep_their_spelling() -> None:
    spellings = {"1.50": b"1.50", "-1e2": b"-1e2", ".5": b"0.5", "1.": b"1", "007": b"7", "-0": b"0", "-0.0": b"0.0"}
    for program, text in spellings.items():
        literal = parse(program)
        assert isinstance(literal, Literal) and literal.text == text
        assert literal.value == float(text)


@pytest.mark.parametrize(
    "program",
    [
        *(".[]", ".a[]", "..", ".a[1:]", ".a[-1]", ".a[1e0]", ".a[16]", ".[.a]", ". as $x | $x", "$ENV", "@base64"),
        *(".a, .b", "[.a]", ".a + .b", ".a - 1", ".a * 2", "-.a", ".a |= 1", ".a = 1", ".a //= 1", "-(1)"),
        *('"\\(.a)"', '"a\nb"', "length(.a)", "map(.a)", "select(.a)", "empty", "error", "def f: 1; f", "a::b"),
        *("{(.a): 1}", "{$__loc__}", "{@text}", "{a: 1, a: 2}", "{a: .b, c: .d} | .a", "try .a", ".a ?// .b"),
        *("9007199254740993", "1e400", "0.10000000000000000000001", "1e-400", "1e-99999999999999999999"),
        *(".a # comment", "reduce .a as $x (0; 1)", ".a | ltrimstr(1)", "not(1)", "import", "1 as $x | 2", "nan"),
    ],
)
def test_every_other_program_is_left_to_jq(program: str) -> None:
    with pytest.raises(NotNative):
        parse(program)

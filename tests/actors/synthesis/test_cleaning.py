"""Cleaning: what goes, what stays, and that the syntax tree is never another one."""

from __future__ import annotations

import ast
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.synthesis.cleaning import clean

LIBRARY = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[::8]


def test_comments_go_and_code_stays():
    assert clean("# what\ndef f(x):  # why\n    # how\n    return x  \n") == "def f(x):\n    return x\n"


def test_a_hash_in_a_string_survives():
    program = 's = \'# no comment\'\nt = f\'#{s}#\'\nu = """\n# neither\n\n\n\n   \n"""\n'
    assert clean(program) == program


def test_trailing_blanks_within_a_string_survive():
    assert clean('a = """x   \n   y"""   \n') == 'a = """x   \n   y"""\n'


def test_runs_of_blank_lines_become_two():
    assert clean("\n\n\nx = 1\n\n\n\n\n\ny = 2\n\n\n") == "x = 1\n\n\ny = 2\n"


def test_a_block_that_holds_only_a_comment_and_pass_keeps_its_pass():
    assert clean("def f():\n    # nothing yet\n    pass\n") == "def f():\n    pass\n"


def test_docstrings_stay():
    program = 'def f():\n    """What f is."""\n    return f.__doc__\n'
    assert clean(program) == program


@pytest.mark.parametrize("program", ["def f(:\n  # broken\n", "x = '\n", "\tif 1:\n  x # y", "x = 1 \0 # y"])
def test_what_does_not_parse_stays_as_it_is(program: str):
    assert clean(program) == program


def test_line_ends_of_other_systems_become_lf():
    assert clean("x = 1  # a\r\ny = 2\r\n") == "x = 1\ny = 2\n"


def test_nothing_but_comments_is_nothing():
    assert clean("# a\n# b\n") == ""


def test_a_continued_line_before_a_comment_is_still_one_statement():
    program = "x = (1 +  # one\n     # two\n     2)\n"
    assert ast.dump(ast.parse(clean(program))) == ast.dump(ast.parse(program))
    assert "#" not in clean(program)


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.name)
def test_real_sources_keep_their_syntax_tree_and_are_really_cleaned(path: Path):
    source = path.read_text("utf-8")
    cleaned = clean(source)
    assert ast.dump(ast.parse(cleaned)) == ast.dump(ast.parse(source))
    assert clean(cleaned) == cleaned
    has_comment = any(line.lstrip().startswith("# ") for line in source.splitlines())
    assert len(cleaned) < len(source) or not has_comment


_pieces = st.sampled_from(
    [
        "x = 1",
        "# c",
        "y = '#'",
        "",
        "   ",
        "if x:",
        "    z = 2",
        "    # d",
        '"""',
        "f'{x}#'",
        "\\",
        "(",
        ")",
        "\t",
        "\f",
        "\r",
    ]
)


@given(st.lists(_pieces, max_size=12).map("\n".join))
def test_any_text_is_cleaned_without_a_change_of_its_meaning(program: str):
    cleaned = clean(program)
    assert clean(cleaned) == cleaned
    try:
        before = ast.dump(ast.parse(program))
    except (SyntaxError, ValueError):
        assert cleaned == program
        return
    assert ast.dump(ast.parse(cleaned)) == before


def test_a_cleaning_that_would_change_the_program_is_not_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("actors.synthesis.cleaning._cleaned", lambda program: "x = 2\n")
    assert clean("x = 1  # one\n") == "x = 1  # one\n"

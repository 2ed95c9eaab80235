import pytest

from actors.engines.line_measures import WIDE, measure_lines


def test_lines_are_counted_by_kind():
    found = measure_lines("# why\n\nx = 1\n   \ny = 2  # not a line of its own")
    assert (found.lines, found.blank, found.comments, found.code) == (5, 2, 1, 2)


def test_wide_lines_are_a_share_of_the_lines_that_are_not_blank():
    found = measure_lines("x" * (WIDE + 1) + "\n\n" + "x" * WIDE)
    assert found.wide_share == 0.5
    assert found.longest == WIDE + 1


def test_copied_passages_show_and_single_lines_do_not():
    passage = "".join(f"line {number}\n" for number in range(10))
    assert measure_lines(passage * 2).repeated_share == pytest.approx(7 / 17)
    assert measure_lines("a\nreturn\nb\nreturn\nc\nreturn\nd").repeated_share == 0
    assert measure_lines("a\nb").repeated_share == 0


@pytest.mark.parametrize(
    "line",
    ["# x = 1", "# return value", "# if a:", "#     call(b)", "# import os", "# def f(a):", "#from a import b"],
)
def test_code_that_was_switched_off_is_told_from_a_comment(line):
    assert measure_lines(line).disabled_share == 1


@pytest.mark.parametrize(
    "line", ["# Return the value.", "# if in doubt, ask", "# a sentence (with an aside) goes on", "#"]
)
def test_a_sentence_is_no_code(line):
    assert measure_lines(line).disabled_share == 0


@pytest.mark.parametrize(("line", "family"), [("// x", "slash"), (" * x", "slash"), ("-- x", "dash"), ("# x", "hash")])
def test_comments_open_as_their_language_has_it(line, family):
    assert measure_lines(line, family).comments == 1
    assert measure_lines("*pointer = 1;", "slash").comments == 0

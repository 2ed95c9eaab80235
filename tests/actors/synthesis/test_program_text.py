"""Programs in answers, with fences as models write them."""

from __future__ import annotations

import pytest

from actors.synthesis.program_text import extract_program

GOOD = "def transform(grid):\n    return grid"
OTHER = "def transform(grid):\n    return grid[::-1]"


def block(program: str, fence: str = "```", info: str = "python") -> str:
    return f"{fence}{info}\n{program}\n{fence}"


def test_the_last_block_is_the_program() -> None:
    assert extract_program(f"First:\n{block(OTHER)}\nBetter:\n\n{block(GOOD)}\nDone.") == GOOD


def test_the_last_block_has_to_define_transform_whatever_came_before() -> None:
    assert extract_program(f"{block(GOOD)}\n{block('print(1)')}") is None


@pytest.mark.parametrize("info", ["python", "py", "Python", "PY", "python3", " python", "python title=x", "python "])
def test_blocks_of_python(info: str) -> None:
    assert extract_program(block(GOOD, info=info)) == GOOD


@pytest.mark.parametrize("info", ["", "text", "json", "pyton", "javascript", "pycon"])
def test_other_blocks_are_no_programs(info: str) -> None:
    assert extract_program(block(GOOD, info=info)) is None


@pytest.mark.parametrize("text", ["", "no program", GOOD, f"`{GOOD}`", "```python", "```python\n```"])
def test_answers_without_a_program(text: str) -> None:
    assert extract_program(text) is None


@pytest.mark.timeout(20)
@pytest.mark.parametrize("line", ["~~~" + " " * 1_000_000 + "`", "~" * 1_000_000 + "`", " " * 1_000_000 + "`"])
def test_a_line_that_is_nearly_a_fence_takes_no_longer_than_it_is_long(line: str) -> None:
    assert extract_program(f"{line}\n{block(GOOD)}") == GOOD


def test_a_block_that_never_ends_counts() -> None:
    assert extract_program(f"Here:\n```python\n{GOOD}") == GOOD
    assert extract_program(f"Here:\n```python\n{OTHER}\n\nand now\n```python\n{GOOD}\n```") == GOOD


def test_line_ends_of_other_systems() -> None:
    assert extract_program(block(GOOD).replace("\n", "\r\n") + "\r\n") == GOOD
    odd = 'def transform(grid):\n    return "\x0c\u2028\x85"'
    assert extract_program(block(odd)) == odd


def test_tildes_and_long_fences() -> None:
    assert extract_program(block(GOOD, "~~~")) == GOOD
    assert extract_program(block(GOOD, "`````")) == GOOD
    assert extract_program(f"````python\n{GOOD}\n```\n````") == f"{GOOD}\n```"
    assert extract_program(f"```python\n{GOOD}\n~~~\n```") == f"{GOOD}\n~~~"
    assert extract_program(f"```python\n{GOOD}\n`````") == GOOD


def test_an_indented_fence_takes_its_indent_from_the_program() -> None:
    indented = "\n".join("   " + line for line in block(GOOD).split("\n"))
    assert extract_program(f"1. So:\n\n{indented}\n\n2. Done.") == GOOD
    assert extract_program("    " + block(GOOD).replace("\n", "\n    ")) == GOOD
    assert extract_program(f"  ```python\n{GOOD}\n  ```") == GOOD


def test_a_fence_in_a_docstring_does_not_end_the_program() -> None:
    program = 'def transform(grid):\n    """\n    ```\n    1 2\n    ```\n    """\n    return grid'
    assert extract_program(block(program)) == program
    quoting = f"'''\n```python\n'''\n{GOOD}"
    assert extract_program(block(quoting, "````")) == quoting


def test_blocks_inside_blocks_of_another_kind() -> None:
    assert extract_program(f"````markdown\n{block(GOOD)}\n````") == GOOD
    assert extract_program(f"```markdown\n{block(GOOD)}\n```") == GOOD


def test_thoughts_do_not_count_where_something_follows() -> None:
    assert extract_program(f"<think>\n{block(OTHER)}\n</think>\n{block(GOOD)}") == GOOD
    assert extract_program(f"<think>{block(OTHER)}</think>I do not know.") is None
    assert extract_program(f"{block(OTHER)}\n</think>\n\nNo.") is None  # the template has opened the thoughts
    assert extract_program(f"<think>\n{block(GOOD)}\n</think>\n \n") == GOOD
    assert extract_program(f"<think>\n{block(GOOD)}\nand so") == GOOD


@pytest.mark.parametrize(
    "program",
    [
        "transform = lambda grid: grid",
        "transform: object = lambda grid: grid",
        "a = transform = list",
        f"import numpy\n\n{GOOD}\n\nprint(1)",
        "if True:\n    def transform(grid):\n        return grid",
        "try:\n    import numpy\nexcept ImportError:\n    def transform(grid):\n        return grid",
        "@print\ndef transform(grid):\n    return grid",
    ],
)
def test_what_defines_transform(program: str) -> None:
    assert extract_program(block(program)) == program


@pytest.mark.parametrize(
    "program",
    [
        "async def transform(grid):\n    return grid",
        "class A:\n    def transform(self, grid):\n        return grid",
        "def solve(grid):\n    def transform(grid):\n        return grid",
        "transform: object",
        "transform(1)",
        "self.transform = 1",
        "def transform_grid(grid):\n    return grid",
        "# def transform(grid):",
        "class transform:\n    pass",
        "x = 'def transform(grid):'",
    ],
)
def test_what_does_not_define_transform(program: str) -> None:
    assert extract_program(block(program)) is None


@pytest.mark.parametrize(
    "program",
    [
        "def transform(grid)\n    return grid",
        "def transform(grid):\nreturn grid",
        "def transform(grid):\n    return '\0'",
        "def transform(grid):\n    return " + "(" * 5000,
        "def transform(grid):\n    return " + "-" * 100_000 + "1",
    ],
    ids=["no colon", "indent", "nul", "brackets", "deep"],
)
def test_what_does_not_parse_is_a_program_that_will_fail(program: str) -> None:
    assert extract_program(block(program)) == program


def test_what_neither_parses_nor_defines_it_is_none() -> None:
    assert extract_program(block("def solve(grid)\n    return grid")) is None


def test_odd_escapes_give_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert extract_program(block('def transform(grid):\n    "\\d"\n    return grid'))
    assert not recwarn.list

import sys
import sysconfig
import time
import warnings
from collections import Counter
from pathlib import Path

import orjson
import pytest

from actors.engines.code_quality import CRITERIA, MEASURED_LENGTH, grade_code

EXEMPLARY = '''"""Totals of invoices."""


def total(prices: list[float], discount: float = 0.0) -> float:
    """The sum of the prices after a discount between 0 and 1."""
    if not 0 <= discount <= 1:
        raise ValueError(f"discount {discount}: give a share between 0 and 1")
    return sum(prices) * (1 - discount)


def average(prices: list[float]) -> float:
    """The mean price."""
    if not prices:
        raise ValueError("no prices")
    count = len(prices)
    return total(prices) / count
'''


def passes(text, **options):
    grade = grade_code(text, **options)
    return {name for name, criterion in grade.criteria.items() if criterion.is_pass}


def test_good_code_meets_every_criterion():
    grade = grade_code(EXEMPLARY)
    assert grade.score == 5
    assert grade.subject == "python"
    assert tuple(grade.criteria) == CRITERIA


@pytest.mark.parametrize(
    ("spoiled", "lost"),
    [
        (EXEMPLARY + "\ndef broken(:\n", {"functional", "exemplary"}),
        (EXEMPLARY + "\nPASSWORD = 'hunter2" + "zebra9'\n", {"no_red_flags"}),
        (EXEMPLARY + "\nresult = eval(input())\n", {"no_red_flags"}),
        (EXEMPLARY + "\ntry:\n    total([])\nexcept:\n    print('empty')\n", {"no_red_flags"}),
        (EXEMPLARY + "\nx = '" + "a" * 400 + "'\n", {"readable"}),
        (EXEMPLARY + "\ndef _long():\n" + "".join(f"    print({n})\n" for n in range(80)), {"readable"}),
        (
            EXEMPLARY + "\ndef _f(a):\n" + "".join(f"    if a == {n}:\n        return {n}\n" for n in range(16)),
            {"well_structured"},
        ),
        (EXEMPLARY + "\ndef _f(a, b=[]):\n    return a, b\n", {"well_structured"}),
        (EXEMPLARY.replace('    """The mean price."""\n', ""), {"exemplary"}),
    ],
)
def test_what_is_spoiled_costs_its_criterion_and_no_other(spoiled, lost):
    assert set(CRITERIA) - passes(spoiled) == lost


def test_explanations_name_the_measurements_and_their_limits():
    grade = grade_code("import os\n\ndef f(a):\n    os.system(a)\n")
    assert "1 functions with a body" in grade.criteria["functional"].explanation
    assert "shell command from a computed string (line 4)" in grade.criteria["no_red_flags"].explanation
    assert "highest cyclomatic complexity 1 (at most 15)" in grade.criteria["well_structured"].explanation
    assert "docstrings on 0 % of 2 public definitions (at least 80 %)" in grade.criteria["exemplary"].explanation


def test_the_score_is_the_number_of_criteria_met():
    grade = grade_code("import os\n")
    answer = grade.to_dict()
    assert answer["score"] == sum(each["is_pass"] for each in answer["criteria"].values())
    assert answer["overall_assessment"].startswith(f"python: {answer['score']} of 5 criteria met; not met: functional")


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("", "nothing"),
        (" \n\t\n", "nothing"),
        ("hello", "no program"),
        ("42", "no program"),
        ('{"a": [1, 2]}', "no program"),
        ("It was a dark and stormy night; the rain fell in torrents.", "no program"),
        ("x = 1\n" * (MEASURED_LENGTH // 6 + 1), "an overlong file"),
    ],
)
def test_what_is_no_program_meets_no_criterion(text, subject):
    grade = grade_code(text)
    assert (grade.score, grade.subject) == (0, subject)


def test_data_in_python_is_not_functional():
    assert "functional" not in passes("NAMES = [\n" + "    'a',\n" * 50 + "]\n\ndef f():\n    return 1\n")
    assert "functional" not in passes("from a import b\nfrom c import d\n")


def test_another_version_of_python_is_graded_by_its_lines():
    text = "import os\n\ndef f(x):\n    # prints\n    print 'old', x\n\nclass A:\n    def g(self):\n        return self.x\n"
    grade = grade_code(text)
    assert grade.subject == "python"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"not Python {version} at line 5" in grade.criteria["functional"].explanation
    assert grade.criteria["no_red_flags"].is_pass


def test_other_languages_are_graded_by_blocks_and_lines():
    text = (
        '#include <stdio.h>\n\n/* Prints. */\nint main(void)\n{\n  for (int i = 0; i < 3; i++) {\n    puts("x");\n  }\n'
    )
    text += "  return 0;\n}\n\n/* Adds. */\nint add(int a, int b)\n{\n  return a + b;\n}\n"
    grade = grade_code(text)
    assert grade.subject == "c"
    assert grade.score == 5
    assert "functional" not in passes(text.replace("}", ""))


def test_a_cut_text_is_not_blamed_for_its_torn_end():
    for end in range(200, len(EXEMPLARY), 7):
        assert "functional" in passes(EXEMPLARY[:end], is_cut=True), EXEMPLARY[:end]
    assert "functional" not in passes(EXEMPLARY[:-3] + "(")


def test_a_byte_order_mark_is_no_part_of_the_program():
    assert grade_code("\ufeff" + EXEMPLARY).score == 5


def test_warnings_of_the_parser_are_kept_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grade_code("x = '\\d' is 1\nassert (x, 'always')\n")


HOSTILE = {
    "null bytes": "\x00" * MEASURED_LENGTH,
    "a null byte in a program": EXEMPLARY + "\x00",
    "a lone surrogate": EXEMPLARY + "# \ud800\n",
    "unary operators": "-" * 200_000 + "1",
    "additions": "+0" * 200_000,
    "attributes": "a." * 200_000 + "b",
    "brackets": "(" * 200_000,
    "open blocks": "".join(" " * depth + "if a:\n" for depth in range(99)) + " " * 99 + "b()\n",
    "elif chain": "if a:\n pass\n" + "elif b:\n pass\n" * 20_000,
    "one line": "a" * MEASURED_LENGTH,
    "names": "a\n" * 100_000,
    "line ends": "\n" * MEASURED_LENGTH,
    "carriage returns": "a\r" * 100_000,
    "tabs and line ends": "\t\n" * 200_000,
    "quotes": "#include <a>\n" + '"\\' * 200_000,
    "braces": "#include <a>\n" + "{" * 200_000,
    "functions": "#include <a>\n" + "a(){" * 100_000,
    "open comments": "#include <a>\n" + "/* " * 150_000,
    "backticks": "const a = 1\nconsole.log(1)\n" + "`${" * 150_000,
    "decorators": "@a\n" * 100_000 + "def f(): pass\n",
    "five megabytes": "def f(x):\n    return x\n" * 220_000,
    "keys": "sk-" * 150_000 + "password='" * 2_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_graded_in_bounded_time(name):
    started = time.process_time()
    grade = grade_code(HOSTILE[name], is_cut=name == "decorators")
    assert time.process_time() - started < 15  # the worst is about 1.5 s on one core of 2024
    assert 0 <= grade.score <= 5
    orjson.dumps(grade.to_dict())


def test_the_standard_library_spreads_over_the_scores():
    root = Path(sysconfig.get_path("stdlib"))
    paths = [path for path in sorted(root.rglob("*.py")) if "site-packages" not in path.parts][::30]
    scores = Counter(grade_code(path.read_text(encoding="utf-8", errors="replace")).score for path in paths)
    assert len(paths) > 40
    assert len(scores) >= 4
    assert max(scores.values()) <= 0.5 * len(paths)

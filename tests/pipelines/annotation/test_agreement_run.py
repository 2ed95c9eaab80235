"""What is printed of an agreement: every pair's own figures and its own matrix."""

from __future__ import annotations

import pytest

from pipelines.annotation.agreement import measure
from pipelines.annotation.agreement_comparison import compare
from pipelines.annotation.agreement_run import _short, _short_comparison
from pipelines.annotation.grades import Grades
from pipelines.curation.bootstrap import Resampling
from pipelines.report.agreement_report import agreement_comparison_report, agreement_report, agreement_sections

FEW = Resampling(resamples=20)
KEYS = ["x", "y"]


@pytest.mark.parametrize(
    ("keys", "labels", "said"),
    [
        (KEYS, [None, None], "all 2 rows of ga have no label: look at --label-expression"),
        (["x"], [None], "the row of ga has no label: look at --label-expression"),
        ([], [], "no row of ga has a key: look at --key-expression, and at what is in quarantine"),
    ],
)
def test_a_typing_error_in_an_expression_is_told_in_one_line(keys: list[str], labels: list[None], said: str) -> None:
    typo, good = Grades("ga", keys, labels), Grades("gb", KEYS, [1, 2])
    report = measure([typo, good], resampling=FEW)
    said = f"no row in common, since {said}"
    short = _short(report)
    assert (short["not_compared"], list(short["tables"])) == (said, ["coverage"])
    html = agreement_report(report)
    assert f"Nothing could be compared: {said}." in html
    assert "Who said what" not in html
    found = compare((typo, good), (good, Grades("gc", KEYS, [1, 2])), resampling=FEW)
    assert found.verdict[0] == f"The pairs cannot be compared: old pair: {said}."
    assert list(_short_comparison(found)["tables"]) == ["coverage"]
    assert agreement_comparison_report(found).count(said) == 2  # in the headline, and below it why no interval


def test_without_any_label_nothing_is_drawn() -> None:
    report = measure([Grades(name, KEYS, [None, None]) for name in "ab"], resampling=FEW)
    assert _short(report)["not_compared"].count("look at --label-expression") == 2
    titles = [section.title for section in agreement_sections(report)]
    assert "Labels" not in titles and "Who said what" not in titles and "Coverage" in titles


def test_of_three_the_two_that_have_labels_are_compared() -> None:
    graders = [Grades("a", KEYS, [1, 2]), Grades("b", KEYS, [1, 2]), Grades("c", KEYS, [None, None])]
    report = measure(graders, resampling=FEW)
    said = "all 2 rows of c have no label: look at --label-expression"
    assert _short(report)["not_compared"] == f"no row in common, since {said}"
    assert f"Nothing of c could be compared: {said}." in agreement_report(report)


def test_keys_that_are_whole_texts_are_cut_and_shown_once() -> None:
    texts = [f"def function_{number}():\n    return {'x' * 200}\n" for number in range(5)]
    twice = Grades("a", texts * 2, [1, 2, 1, 2, 1] * 2)
    report = measure([twice, Grades("b", texts, [1, 2, 1, 2, 1])], resampling=FEW)
    told = " ".join(next(agreement_sections(report)).paragraphs)  # type: ignore[attr-defined]
    assert "a has 5 keys more than once (such as def function_0(): return xxx" in told
    assert "function_1" not in told and "x" * 60 not in told


def test_every_pair_of_three_has_its_own_matrix() -> None:
    keys = [str(number) for number in range(6)]
    labels = {"a": [1, 1, 1, 0, 0, 0], "b": [1, 1, 0, 0, 0, 0], "c": [0, 0, 0, 1, 1, 1]}
    report = measure([Grades(name, keys, given) for name, given in labels.items()], resampling=FEW)
    found = {title: table for title, table in _short(report)["tables"].items() if title.startswith("confusion")}
    assert list(found) == [f"confusion of {pair} (the second across)" for pair in ("a and b", "a and c", "b and c")]
    assert found["confusion of a and c (the second across)"] == [
        {"a ↓": "0", "0": 0, "1": 3},
        {"a ↓": "1", "0": 3, "1": 0},
    ]
    for pair, table in zip(report.pairs, found.values(), strict=True):
        assert [[row[label] for label in pair.labels] for row in table] == [list(row) for row in pair.confusion]

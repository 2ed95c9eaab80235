"""The agreement report tells figures, strength, coverage and warnings, for two graders and more, and compares pairs."""

from dataclasses import replace

import numpy as np

from pipelines.annotation.agreement import measure
from pipelines.annotation.agreement_comparison import compare
from pipelines.annotation.grades import Grades, hash_keys
from pipelines.curation.bootstrap import Resampling
from pipelines.report.agreement_report import agreement_comparison_report, agreement_report, agreement_sections
from pipelines.report.document import Fact

FEW = Resampling(resamples=100)
# Rows of the first grader, columns of the second.
COUNTS = [
    [7, 12, 9, 1, 1, 0],
    [6, 120, 122, 67, 3, 0],
    [1, 35, 322, 271, 39, 1],
    [0, 4, 75, 516, 129, 1],
    [0, 0, 4, 61, 184, 3],
    [0, 0, 0, 0, 3, 3],
]


def graders(counts: list[list[int]], names: tuple[str, str] = ("old", "human")) -> tuple[Grades, Grades]:
    cells = [(i, j) for i, row in enumerate(counts) for j, number in enumerate(row) for _ in range(number)]
    keys = [f"doc-{number}" for number in range(len(cells))]
    rows = [{"id": key, "text": f"<i>{key}</i>"} for key in keys]
    first, second = ([cell[place] for cell in cells] for place in (0, 1))
    return Grades(names[0], keys, first, rows), Grades(names[1], keys, second)


def test_two_graders_are_told_in_figures_and_words():
    report = measure(graders(COUNTS), is_ordinal=True, resampling=FEW)
    html = agreement_report(report, title="Rubric", facts=(Fact("Label", ".score"),))
    for figure in ("57.6", "0.402", "0.522", "0.646", "Moderate", "of 2,000 common rows"):
        assert figure in html
    assert "human grades higher than old" in html
    assert "&lt;i&gt;doc-" in html
    assert html == agreement_report(report, title="Rubric", facts=(Fact("Label", ".score"),))


def test_repeated_and_contradicting_keys_are_warned_of():
    first, second = graders(COUNTS)
    keys, labels = [*first.keys, "doc-0", "doc-1"], [*first.labels, 5, first.labels[1]]
    report = measure((Grades("old", keys, labels), second), is_ordinal=True, resampling=FEW)
    html = agreement_report(report)
    assert "old has 2 keys more than once, 1 of them with labels that contradict each other and left out" in html


def test_a_repeated_key_of_which_only_the_hash_is_known_is_shown_by_its_row():
    first, second = graders(COUNTS)
    keys, labels = [*first.keys, "doc-0"], [*first.labels, first.labels[0]]
    rows = [f"a.jsonl:{number}: {key} {'x' * 100}" for number, key in enumerate(keys)]
    report = measure((Grades("old", hash_keys(keys), labels, rows), second), is_ordinal=True, resampling=FEW)
    assert "old has 1 key more than once (such as a.jsonl:0: doc-0 xxx" in agreement_report(report)


def test_grades_that_no_model_gave_are_labelled_as_what_they_are():
    first, second = graders(COUNTS)
    said = "no model has read it"
    for measured, told in (
        (0, None),
        (2000, "The rows of old hold grades of"),
        (7, "7 of 2,000 rows of old hold grades"),
    ):
        html = agreement_report(measure((replace(first, measured=measured), second), is_ordinal=True, resampling=FEW))
        assert (said in html) == (told is not None)
        assert told is None or told in html


def test_grades_beside_the_label_are_told_as_that():
    first, second = graders(COUNTS)
    html = agreement_report(measure((replace(first, beside=7), second), is_ordinal=True, resampling=FEW))
    assert "7 of 2,000 rows of old also hold a grade of the static-analysis engine" in html
    assert "no model has read it" not in html


def test_a_comparison_tells_of_coverage_repeated_keys_and_who_graded():
    first, second = graders(COUNTS)
    measured = replace(second, name="rules", measured=2000)
    repeated = Grades("new", [*first.keys, "doc-0", "doc-1"], [*first.labels, 5, first.labels[1]])
    comparison = compare((first, second), (repeated, measured), True, FEW)
    html = agreement_comparison_report(comparison)
    assert "The rows of rules hold grades of the static-analysis engine" in html
    assert "new has 2 keys more than once, 1 of them with labels that contradict each other and left out" in html
    assert "new and rules: 1,999 in common, 0 only in new, 1 only in rules." in html
    kept = {one["name"]: one for one in comparison.to_dict()["coverage"]}
    assert list(kept) == ["old", "human", "new", "rules"]
    assert kept["rules"]["measured"] == 2000 and kept["new"]["conflicting_keys"] == 1


def test_a_grader_of_both_pairs_is_covered_once():
    first, second = graders(COUNTS)
    comparison = compare((first, second), (first, replace(second, name="other")), True, FEW)
    assert [one.name for one in comparison.coverage] == ["old", "human", "other"]


def test_labels_piled_up_in_one_class_are_pointed_out():
    report = measure(graders([[1, 1, 1], [1, 90, 1], [1, 1, 1]]), is_ordinal=True, resampling=FEW)
    assert "agreement says little and κ says more" in agreement_report(report)


def test_nothing_in_common_is_said_and_not_drawn():
    report = measure((Grades("a", ["x"], ["good"]), Grades("b", ["y"], ["bad"])), resampling=FEW)
    html = agreement_report(report)
    assert "Nothing could be compared: no row in common" in html
    assert "a and b: 0 in common, 1 only in a, 1 only in b." in html


def test_more_graders_have_figures_together_and_in_pairs():
    random = np.random.default_rng(0)
    keys = [f"k{i}" for i in range(200)]
    truth = random.integers(0, 3, 200)
    noisy = [np.where(random.random(200) < 0.7, truth, random.integers(0, 3, 200)).tolist() for _ in range(5)]
    three = measure([Grades(f"g{i}", keys, labels) for i, labels in enumerate(noisy[:3])], resampling=FEW)
    titles = [section.title for section in agreement_sections(three)]
    assert titles[:3] == ["In short", "All graders together", "Every pair"]
    html = agreement_report(three)
    assert "Of 3 pairs the least agreed" in html
    assert "Fleiss’ κ" in html
    five = measure([Grades(f"g{i}", keys, labels) for i, labels in enumerate(noisy)], resampling=FEW)
    html = agreement_report(five)
    assert "The grids of 4 further pairs are left out." in html
    assert "g3 and g4" in html


def test_a_higher_rate_with_a_lower_kappa_is_a_warning_in_words():
    old, new = graders([[160, 40], [40, 160]]), graders([[360, 20], [20, 0]], ("new", "human"))
    comparison = compare(old, new, resampling=FEW)
    assert comparison.is_misleading
    html = agreement_comparison_report(comparison)
    assert "but kappa falls" in html
    assert "piled up in one class" in html
    assert 'class="mark neutral">higher' in html
    assert 'class="mark bad">worse' in html
    assert "Both pairs were redrawn together" in html


def test_pairs_without_a_shared_row_are_said_to_be_redrawn_alone():
    first, second = graders([[40, 10], [10, 40]])
    elsewhere = [f"other-{key}" for key in first.keys]
    new = (Grades("new", elsewhere, first.labels), Grades("human", elsewhere, second.labels))
    html = agreement_comparison_report(compare((first, second), new, resampling=FEW))
    assert "Each pair was redrawn alone: they share 0 keys." in html
    assert 'class="mark neutral">undecided' in html

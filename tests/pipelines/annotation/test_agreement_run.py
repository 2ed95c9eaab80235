"""What is printed of an agreement: every pair's own figures and its own matrix."""

from __future__ import annotations

from pipelines.annotation.agreement import measure
from pipelines.annotation.agreement_run import _short
from pipelines.annotation.grades import Grades
from pipelines.curation.bootstrap import Resampling

FEW = Resampling(resamples=20)


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

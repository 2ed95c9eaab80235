"""label-distribution from its command line to its table and its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.label_distribution import command


def dataset(root: Path, splits: dict[str, list[object]]) -> str:
    for split, labels in splits.items():
        (root / split).mkdir(parents=True)
        lines = [json.dumps({"l": label, "text": "x" * n}) for n, label in enumerate(labels)]
        (root / split / "a.jsonl").write_text("\n".join(lines))
    return str(root)


@pytest.mark.ray
def test_labels_of_several_datasets_are_counted_and_written(ray_session, tmp_path):
    one = dataset(tmp_path / "one", {"train": ["a", "a", "b", None], "test": ["b"]})
    two = dataset(tmp_path / "two", {"train": ["b", "b"]})
    asked = ["-d", one, "-d", two, "-l", ".l", "-k", ".text", "-b", "2", "--quiet"]
    printed = CliRunner().invoke(command, [*asked, "--json"])
    assert printed.exit_code == 0, printed.output
    summary = json.loads(printed.output)
    rows = [(row["split"], row["label"], row["rows"], row["share"]) for row in summary["tables"]["labels"]]
    assert rows == [
        ("train", "b", 3, 0.6),
        ("train", "a", 2, 0.4),
        ("test", "b", 1, 1.0),
        ("total", "b", 4, pytest.approx(4 / 6)),
        ("total", "a", 2, pytest.approx(2 / 6)),
    ]
    assert summary["tables"]["first quarantined rows"][0]["reason"] == "no label: .l gives null"
    assert summary["tables"]["key lengths"][0]["max"] == 2

    written = command.main([*asked, "-o", str(tmp_path / "out"), "-p", "2"], standalone_mode=False)
    assert written["tables"]["labels"] == summary["tables"]["labels"]
    distribution = json.loads((tmp_path / "out" / "distribution.json").read_text())
    assert distribution["total"]["rows"] == 6
    assert (distribution["label_expression"], distribution["label_type"]) == (".l", "text")


def test_a_program_that_does_not_compile_is_told_before_any_work(tmp_path):
    result = CliRunner().invoke(command, ["-d", str(tmp_path), "-l", ".["])
    assert ".[" in str(result.exception)
    assert "\n" not in str(result.exception)

"""count-tokens from its command line to its table and its file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster.shards import encode
from jobs.count_tokens import command


def words_tokenizer(path: Path) -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(path))
    return str(path)


def dataset(root: Path) -> str:
    texts = {"train/a.jsonl.zst": ["a b c", "a", "é é"], "train/b.jsonl": ["x y"], "test/a.jsonl.gz": ["a b c d e f"]}
    for name, found in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        lines = b"".join(json.dumps({"body": text}).encode() + b"\n" for text in found)
        (root / name).write_bytes(encode(lines + (b"broken\n" if name == "train/b.jsonl" else b""), name))
    return str(root)


@pytest.mark.ray
def test_tokens_are_counted_per_split_and_the_result_is_the_same_with_and_without_an_output(ray_session, tmp_path):
    inputs, tokenizer = dataset(tmp_path / "in"), words_tokenizer(tmp_path / "tok.json")
    asked = ["-d", inputs, "-t", tokenizer, "-i", ".body", "--quiet"]
    printed = CliRunner().invoke(command, [*asked, "--json"])
    assert printed.exit_code == 0, printed.output
    summary = json.loads(printed.output)
    assert (summary["rows_in"], summary["rows_out"], summary["quarantined"]) == (6, 5, 1)
    assert (summary["characters"], summary["bytes"], summary["tokens"]) == (23, 25, 14)
    assert summary["output"] is None
    first = summary["tables"]["first quarantined rows"]
    assert [(row["shard"], row["line"]) for row in first] == [("train/b.jsonl", 2)]
    per_row = {(row["split"], row["measure"]): row for row in summary["tables"]["per row"]}
    assert per_row["train", "tokens"]["p50"] == 2
    assert per_row["test", "tokens"]["total"] == 6
    assert per_row["total", "tokens"]["max"] == 6

    output = tmp_path / "out"
    written = command.main([*asked, "-o", str(output), "-p", "3"], standalone_mode=False)
    assert written["tables"]["per row"] == summary["tables"]["per row"]
    counts = json.loads((output / "counts.json").read_text())
    assert counts["splits"]["train"]["tokens"]["total"] == 8
    assert counts["total"]["characters"]["rows"] == 5
    assert len(counts["tokenizer_sha256"]) == 64
    assert (output / "_quarantine" / "train" / "b.jsonl").exists()
    again = command.main([*asked, "-o", str(output)], standalone_mode=False)
    assert again == written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --tokenizer, or --no-tokens .*hf download"),
        (["--no-tokens", "-t", "x"], "--tokenizer and --no-tokens exclude each other"),
        (["--no-tokens", "--address", "ray://head:10001"], "on the cluster ray://head:10001 give --output-dir"),
    ],
)
def test_wrong_use_is_told_with_the_way_out(tmp_path, arguments, message):
    result = CliRunner().invoke(command, ["-d", str(tmp_path), *arguments])
    assert result.exit_code == 2
    assert re.search(message, " ".join(result.output.split()))


def test_a_file_that_is_no_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    result = CliRunner().invoke(command, ["-d", dataset(tmp_path / "in"), "-t", str(tmp_path)])
    assert "tokenizer.json is not a tokenizer.json" in str(result.exception)


def test_a_missing_tokenizer_is_named_with_how_to_get_one(tmp_path):
    result = CliRunner().invoke(command, ["-d", dataset(tmp_path / "in"), "-t", str(tmp_path / "none.json")])
    assert "none.json" in str(result.exception)
    assert "allenai/dolma2-tokenizer" in str(result.exception)

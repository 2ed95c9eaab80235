"""deduplicate-dataset from its command line to its shards and its report."""

from __future__ import annotations

import importlib.metadata
import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster.shards import ChunkSize, encode, shards_of
from jobs.deduplicate_dataset import command
from jobs.job import TooManyQuarantined


def dataset(root: Path) -> str:
    """Texts of random words over four shards, some of them twice, some nearly so, and two broken lines."""
    rng = random.Random(11)
    texts = [" ".join(f"w{rng.randrange(5000)}" for _ in range(rng.randrange(30, 90))) for _ in range(300)]
    texts += [texts[n] for n in range(0, 300, 10)]
    texts += [f"{texts[n]} and some more" for n in range(5, 300, 10)]
    rng.shuffle(texts)
    for number in range(4):
        name = f"{'test' if number == 0 else 'train'}/{number}.jsonl.zst"
        lines = [json.dumps({"text": text, "n": n}).encode() for n, text in enumerate(texts) if n % 4 == number]
        lines += [b"broken"] if number > 1 else []
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode(b"\n".join(lines), name))
    return str(root)


def tree(root: Path) -> dict[str, bytes]:
    """Every file of an output but the summary, which names its directory."""
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if name != "_run/summary.json"}


def lines_of(root: Path) -> list[dict]:
    found = []
    for shard in shards_of([str(root)]):
        for chunk in shard.chunks(ChunkSize()):
            found += [json.loads(line) for line in chunk.payload.splitlines()]
    return found


@pytest.mark.ray
def test_the_output_is_the_same_however_many_workers_there_are_and_after_a_failure(ray_session, tmp_path):
    pytest.importorskip("rensa")
    inputs = dataset(tmp_path / "in")
    asked = ["-i", inputs, "--near", "--chunk-size", "4000", "--quiet"]
    summary = command.main([*asked, "-o", str(tmp_path / "one"), "-p", "1"], standalone_mode=False)
    assert summary["rows_in"] == 362
    assert (summary["quarantined"], summary["exact_duplicates"], summary["near_duplicates"]) == (2, 30, 30)
    assert summary["filtered"] == 60
    kept = [row["text"] for row in lines_of(tmp_path / "one")]
    assert len(kept) == len(set(kept)) == 300
    reports = sorted((tmp_path / "one" / "_duplicates").rglob("*.jsonl.zst"))
    assert len(reports) == 4

    with pytest.raises(TooManyQuarantined):
        command.main([*asked, "-o", str(tmp_path / "two"), "-p", "3", "--max-quarantined", "0"], standalone_mode=False)
    command.main([*asked, "-o", str(tmp_path / "two"), "-p", "3"], standalone_mode=False)
    assert tree(tmp_path / "two") == tree(tmp_path / "one")


@pytest.mark.ray
def test_without_near_only_equal_texts_go_and_rows_stay_as_they_are(ray_session, tmp_path):
    (tmp_path / "in").mkdir()
    rows = [b'{"text": "a",  "x": 1e0}', b'{"text":"a"}', b'{"text": "A"}', b'{"text": "a "}']
    (tmp_path / "in" / "a.jsonl").write_bytes(b"\n".join(rows))
    summary = command.main(["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--quiet"], standalone_mode=False)
    assert (summary["rows_out"], summary["filtered"]) == (3, 1)
    assert (tmp_path / "out" / "a.jsonl").read_bytes() == b"".join(row + b"\n" for row in (rows[0], rows[2], rows[3]))


def test_settings_for_near_duplicates_need_near(tmp_path):
    result = CliRunner().invoke(command, ["-i", str(tmp_path), "-o", str(tmp_path / "out"), "--num-perm", "64"])
    assert result.exit_code == 2
    assert "--num-perm is for near duplicates: add --near" in result.output


def test_without_the_library_the_message_says_what_to_install(tmp_path, monkeypatch):
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    result = CliRunner().invoke(command, ["-i", str(tmp_path), "-o", str(tmp_path / "out"), "--near"])
    assert "pip install 'gristmill[near-duplicates]'" in str(result.exception)

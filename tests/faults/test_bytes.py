"""Rows that other tools break come through the verbs byte for byte."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections import Counter
from pathlib import Path

import pytest
import zstandard

from cluster.session import Session

pytestmark = [pytest.mark.component, pytest.mark.ray]

AWKWARD = [
    b'{"zip": "007", "large": 1180591620717411303424, "label": 1}',
    b'{"huge": 1e400, "tiny": 1e-400, "exact": 0.1000000000000000055511151231257827, "label": 0}',
    b'{"a": 1, "a": 2, "date": "2020-01-01T00:00:00Z", "label": 0}',
    '{"raw": "\u2028 \u2029 \x85 \x7f", "label": 1}'.encode(),
    b'{"escaped": "\\u2028 \\ud83d\\ude00 \\/ \\u0000", "label": 1}',
    '{"emoji": "👩‍👩‍👧‍👦 é é", "ключ": null, "label": 0}'.encode(),
    b'  { "spaces" : [ 1 , 2.0, 1E5, -0 ] , "label" : 1 } \t',
    b'{"": {"": []}, "label": 0}',
    b'{"deep": ' + b"[" * 300 + b"]" * 300 + b', "label": 1}',
    b'{"label": 1}',
]
LARGE = b'{"text": "' + b"x\\n" * (25 << 19) + b"y" * (25 << 20) + b'", "label": 0}'


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, list[bytes]]:
    """Shards of every codec with their rows: line ends of both kinds, a byte order mark, a row of 50 MB."""
    root = tmp_path_factory.mktemp("awkward")
    crlf = [row + b"\r" for row in AWKWARD]
    shards = {
        "plain.jsonl": (b"\n".join(AWKWARD) + b"\n", AWKWARD),
        "mark.jsonl": (b"\xef\xbb\xbf" + b"\n".join(AWKWARD), AWKWARD),
        "crlf.jsonl.gz": (gzip.compress(b"\n".join(crlf) + b"\n"), crlf),
        "blank.v1.jsonl.zst": (zstandard.compress(b"\n\r\n" + b"\n\n".join(AWKWARD) + b"\n  \n"), AWKWARD),
        "large.jsonl.zst": (
            zstandard.compress(b"\n".join([AWKWARD[0], LARGE, AWKWARD[1]])),
            [AWKWARD[0], LARGE, AWKWARD[1]],
        ),
    }
    for name, (content, _) in shards.items():
        (root / name).write_bytes(content)
    return {root / name: rows for name, (_, rows) in shards.items()}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    from jobs.cli import main

    monkeypatch.setattr(sys, "argv", ["gristmill", *arguments])
    main()


def rows_of(path: Path) -> list[bytes]:
    data = path.read_bytes()
    if path.name.endswith(".gz"):
        data = gzip.decompress(data)
    if path.name.endswith(".zst"):
        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
    assert not data or data.endswith(b"\n")
    return data.split(b"\n")[:-1]


def summary_of(output: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((output / "_run/summary.json").read_bytes())
    return found


def test_a_sample_of_everything_is_every_row_in_its_place(
    awkward: dict[Path, list[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_session: Session
) -> None:
    source = next(iter(awkward)).parent
    run(monkeypatch, "sample-dataset", "-i", str(source), "-o", str(tmp_path), "--sampling-rate", "1", "-q")
    assert summary_of(tmp_path)["quarantined"] == 0
    for path, rows in awkward.items():
        assert rows_of(tmp_path / path.name) == rows


@pytest.mark.parametrize(
    "verb",
    [
        ["reshard-dataset", "-n", "3"],
        ["reshard-dataset", "-n", "4", "--valid-split", "7", "--test-split", "0.3"],
        ["sample-dataset", "-t", "1GB"],
    ],
)
def test_what_moves_rows_leaves_each_of_them_as_it_was(
    verb: list[str],
    awkward: dict[Path, list[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ray_session: Session,
) -> None:
    source = next(iter(awkward)).parent
    run(monkeypatch, *verb, "-i", str(source), "-o", str(tmp_path), "-q", "--chunk-size", "1kB")
    found = Counter(row for path in tmp_path.rglob("*.jsonl*") for row in rows_of(path))
    assert found == Counter(row for rows in awkward.values() for row in rows)


def test_balancing_drops_rows_but_changes_none(
    awkward: dict[Path, list[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_session: Session
) -> None:
    source = next(iter(awkward)).parent
    run(monkeypatch, "balance-dataset", "-i", str(source), "-o", str(tmp_path), "-l", ".label", "-q")
    for path, rows in awkward.items():
        left = iter(rows)
        assert all(any(row == candidate for candidate in left) for row in rows_of(tmp_path / path.name))
    found = summary_of(tmp_path)
    assert (found["quarantined"], found["rows_in"] - found["filtered"]) == (0, found["rows_out"])
    assert found["rows_out"] > 30

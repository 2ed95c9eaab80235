"""Rows that were found to be duplicates are filtered out, shard by shard."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from actors.duplicate_dropper import DropDuplicates, removed_name
from cluster.ledger import Pass
from cluster.rows import Rows
from cluster.storage import open_storage


def test_only_the_removed_lines_of_the_same_shard_go(tmp_path: Path):
    step = Pass(open_storage(str(tmp_path)), "fingerprint", "run")
    for shard, removed in (("train/a.jsonl", [2, 3, 900]), ("train/b.jsonl", [1])):
        step.output.publish(removed_name(step, shard), np.array(removed, np.int64).tobytes())
    stage = DropDuplicates(step)
    stage.setup()
    kept = {}
    for shard in ("train/a.jsonl", "train/b.jsonl", "train/none.jsonl", "train/a.jsonl"):
        rows = stage.process(Rows(shard, [b"1", b"2", b"3", b"4"], [1, 2, 3, 4]))
        assert rows.filtered + len(rows) == 4
        kept[shard] = rows.lines
    assert kept == {
        "train/a.jsonl": [b"1", b"4"],
        "train/b.jsonl": [b"2", b"3", b"4"],
        "train/none.jsonl": [b"1", b"2", b"3", b"4"],
    }

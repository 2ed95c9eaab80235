"""Ranking keeps what a selection needs, and keeping applies its thresholds."""

import numpy as np

from actors.priorities import priorities
from actors.selector import Grouping, GroupRows, KeepRows, RankRows, ranked
from cluster.rows import Rows

LINES = [b'{"score":"a","n":1}', b'{"score":"b"}', b'{"score":"a"}', b'{"n":0}']


def rows():
    return Rows("train/x.jsonl", list(LINES), [1, 2, 3, 4])


def test_ranks_are_kept_by_split_and_label_with_sizes():
    record = RankRows(Grouping(".score"), seed=5).encode(GroupRows(Grouping(".score")).process(rows()))
    found = ranked(record)
    keys = priorities(5, "train/x.jsonl", [1, 2, 3])
    assert list(found) == ["train\ta", "train\tb"]
    assert found["train\ta"][0].tolist() == [keys[0], keys[2]]
    assert found["train\ta"][1].tolist() == [len(LINES[0]) + 1, len(LINES[2]) + 1]


def test_a_row_without_a_label_is_quarantined():
    grouped = GroupRows(Grouping(".score")).process(rows())
    assert [(row.line, row.raw) for row in grouped.rejected] == [(4, LINES[3])]


def test_rows_up_to_the_threshold_are_kept_whole_and_the_others_filtered():
    keys = priorities(5, "train/x.jsonl", [1, 2, 3])
    threshold = int(min(keys[0], keys[2]))
    kept = KeepRows(Grouping(".score"), 5, {"train\ta": threshold}).process(rows())
    assert kept.lines == [LINES[0] if keys[0] < keys[2] else LINES[2]]
    assert (kept.filtered, len(kept.rejected)) == (2, 1)


def test_an_empty_chunk_ranks_to_nothing():
    assert ranked(RankRows(Grouping(), 1).encode(Rows("a.jsonl", [], []))) == {}
    assert np.array(ranked(RankRows(Grouping(), 1).encode(rows()))[""][0]).size == 4

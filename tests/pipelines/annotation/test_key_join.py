import numpy as np

from pipelines.annotation.grades import Grades, encode_labels, hash_keys
from pipelines.annotation.key_join import Overlap, join_keys


def join(*datasets):
    grades = [Grades(f"g{place}", keys, labels) for place, (keys, labels) in enumerate(datasets)]
    scale, codes = encode_labels(grades, False)
    joined = join_keys(grades, codes)
    rows = [tuple(scale.labels[code] if code >= 0 else None for code in row) for row in joined.labels.tolist()]
    return joined, sorted(rows, key=str)


def test_rows_are_joined_on_their_keys_whatever_their_order():
    joined, rows = join((["a", "b", "c"], [1, 2, 3]), (["c", "d", "a"], [3, 4, 9]))
    assert rows == sorted([("1", "9"), ("2", None), ("3", "3"), (None, "4")], key=str)
    assert joined.overlap(0, 1) == Overlap(2, 1, 1)


def test_positions_say_where_the_rows_stand():
    joined, _ = join((["a", "b"], [1, 2]), (["b", "a"], [5, 6]))
    assert sorted(map(tuple, joined.positions.tolist())) == [(0, 1), (1, 0)]


def test_a_key_with_equal_labels_counts_once_and_is_reported():
    joined, rows = join((["a", "a", "b"], [1, 1, 2]), (["a", "b"], [1, 2]))
    assert rows == [("1", "1"), ("2", "2")]
    coverage = joined.coverage[0]
    assert (coverage.rows, coverage.keys, coverage.duplicate_keys, coverage.duplicate_rows) == (3, 2, 1, 1)
    assert coverage.conflicting_keys == 0
    assert coverage.duplicate_examples == ("a",)


def test_a_key_with_different_labels_is_left_out_and_reported():
    joined, rows = join((["a", "b", "a"], [1, 2, 3]), (["a", "b"], [1, 2]))
    assert rows == sorted([(None, "1"), ("2", "2")], key=str)
    assert joined.coverage[0].conflicting_keys == 1
    assert joined.coverage[1].conflicting_keys == 0


def test_a_row_without_a_label_contradicts_nothing():
    joined, rows = join((["a", "a", "b"], [None, 1, None]), (["a", "b"], [1, 2]))
    assert rows == sorted([("1", "1"), (None, "2")], key=str)
    assert joined.coverage[0].unlabelled == 2
    assert joined.coverage[0].conflicting_keys == 0
    assert joined.overlap(0, 1) == Overlap(1, 0, 1)


def test_hashed_keys_join_with_plain_ones():
    _joined, rows = join((hash_keys(["a", "b"]), [1, 2]), (["b", "a"], [2, 1]))
    assert rows == [("1", "1"), ("2", "2")]
    twice, _ = join((hash_keys(["a", "a"]), [1, 1]), (["a"], [1]))
    assert twice.coverage[0].duplicate_examples == (hash_keys(["a"]).astype(">u8").tobytes().hex(),)


def test_empty_datasets_have_nothing_in_common():
    _joined, rows = join(([], []), (["a"], [1]))
    assert rows == [(None, "1")]
    assert join(([], []), ([], []))[0].labels.shape == (0, 2)


def test_the_join_is_that_of_dictionaries_on_many_keys():
    rng = np.random.default_rng(0)
    datasets = []
    for _ in range(3):
        keys = [f"k{number}" for number in rng.permutation(3000)[:2000]]
        datasets.append((keys, rng.integers(0, 4, 2000).tolist()))
    _, rows = join(*datasets)
    tables = [dict(zip(*each, strict=True)) for each in datasets]
    every = set().union(*tables)
    expected = [tuple(None if key not in table else str(table[key]) for table in tables) for key in every]
    assert rows == sorted(expected, key=str)

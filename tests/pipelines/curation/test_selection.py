"""Selection finds exact thresholds from two readings of what the ranking pass kept."""

import numpy as np
import pytest

from pipelines.curation import selection
from pipelines.curation.balance import wanted_rows
from pipelines.curation.selection import TiedPriorities, byte_threshold, count, row_thresholds


def records_of(groups):
    parts = [{name: (keys[i::3], sizes[i::3]) for name, (keys, sizes) in groups.items()} for i in range(3)]
    return lambda: iter(parts)


def random_groups(seed, rows):
    rng = np.random.default_rng(seed)
    return {
        name: (
            rng.integers(0, 2**64, size=number, dtype=np.uint64),
            rng.integers(1, 5000, size=number).astype(np.uint64),
        )
        for name, number in rows.items()
    }


@pytest.mark.parametrize("wanted", [1, 2, 777, 4999, 5000])
def test_exactly_the_wanted_number_of_rows_lies_below_the_threshold(wanted):
    groups = random_groups(1, {"a": 5000, "b": 6000})
    records = records_of(groups)
    thresholds = row_thresholds(records, count(records), {"a": wanted, "b": wanted})
    for name, (keys, _) in groups.items():
        assert int((keys <= np.uint64(thresholds[name])).sum()) == wanted


def test_a_group_of_which_no_row_is_wanted_has_no_threshold():
    records = records_of(random_groups(2, {"a": 10}))
    assert row_thresholds(records, count(records), {"a": 0}) == {}


def test_bytes_below_the_threshold_are_as_near_to_the_target_as_whole_rows_can_be():
    groups = random_groups(3, {"": 20_000})
    keys, sizes = groups[""]
    records = records_of(groups)
    counts = count(records)[""]
    running = np.cumsum(sizes[np.argsort(keys)].astype(np.int64))
    for target in (1, 4000, 1_000_000, 33_333_333, int(running[-1]) - 1):
        threshold = byte_threshold(records, counts, target)
        kept = 0 if threshold is None else int(sizes[keys <= np.uint64(threshold)].sum())
        nearest = min(np.abs(np.concatenate([[0], running]) - target))
        assert abs(kept - target) == nearest


def test_a_target_beyond_everything_keeps_everything():
    groups = random_groups(4, {"": 100})
    records = records_of(groups)
    assert byte_threshold(records, count(records)[""], 10**12) == 2**64 - 1


def test_two_rows_of_one_priority_at_the_edge_are_noticed():
    keys = np.array([1, 2, 2, 3], np.uint64)
    records = records_of({"a": (keys, np.ones(4, np.uint64))})
    with pytest.raises(TiedPriorities):
        row_thresholds(records, count(records), {"a": 2})
    assert row_thresholds(records, count(records), {"a": 3}) == {"a": 2}


def test_the_edge_of_a_bin_is_no_special_case():
    width = 2**64 // selection.BINS
    keys = np.array([width - 1, width, 2 * width - 1, 2 * width], np.uint64)
    records = records_of({"a": (keys, np.ones(4, np.uint64))})
    counts = count(records)
    for wanted in (1, 2, 3):
        threshold = row_thresholds(records, counts, {"a": wanted})["a"]
        assert int((keys <= np.uint64(threshold)).sum()) == wanted


def test_a_balance_takes_the_rarest_label_of_each_split():
    sizes = {"train\ta": 50, "train\tb": 20, "test\ta": 3, "test\tb": 9}
    records = records_of(random_groups(5, sizes))
    assert wanted_rows(count(records)) == {"train\ta": 20, "train\tb": 20, "test\ta": 3, "test\tb": 3}

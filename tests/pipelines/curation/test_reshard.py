"""Resharding shares files out by bytes, and splits by rank."""

import pytest

from pipelines.curation.reshard import Split, SplitError, allot_files, split_ranks


def test_files_are_shared_out_by_bytes_and_every_split_gets_one():
    assert allot_files(10, {"train": 900, "test": 100}) == {"train": 8, "test": 2}
    assert allot_files(32, {"train": 97, "valid": 2, "test": 1}) == {"train": 29, "valid": 2, "test": 1}
    assert allot_files(1, {"train": 5, "test": 5}) == {"train": 1, "test": 1}
    assert allot_files(4, {}) == {}


@pytest.mark.parametrize("files", range(2, 40))
def test_the_shares_add_up_to_the_number_of_files(files):
    assert sum(allot_files(files, {"train": 12345, "test": 777}).values()) == files


def test_counts_and_fractions_cut_ranges_of_ranks_and_train_takes_the_rest():
    splits = [Split("test", 10), Split("valid", 0.25), Split("train", None)]
    assert split_ranks(splits, 100) == [("test", 0, 10), ("valid", 10, 35), ("train", 35, 100)]


def test_fractions_that_add_up_to_one_may_round_up():
    splits = [Split("test", 0.5), Split("train", 0.5)]
    assert split_ranks(splits, 3) == [("test", 0, 2), ("train", 2, 3)]


def test_more_rows_than_there_are_is_an_error_that_says_so():
    with pytest.raises(SplitError, match=r"ask for 1,000 rows or more, the dataset has 100"):
        split_ranks([Split("test", 1000)], 100)
